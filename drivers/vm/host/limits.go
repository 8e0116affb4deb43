package host

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/docker/go-units"
	"golang.org/x/sys/unix"

	"openshell-vm/drivers"
	"openshell-vm/internal/procfs"
)

// Defaults and limits of what a VM gets, in bytes but for the CPUs.
const (
	defaultCPUs   = 2
	defaultMemory = 512 << 20
	minMemory     = 128 << 20 // less does not hold the guest kernel and its initramfs

	// DefaultDisk is the default size of a VM's disk. A VM gets less if less than twice
	// as much is free.
	DefaultDisk = 16 << 30
	minDisk     = 64 << 20 // in less, a file system with a journal has little room
	maxDisk     = 1 << 40
)

// CheckCPUs checks the number of virtual CPUs; 0 becomes the default.
func (h *Host) CheckCPUs(wanted float64) (float64, error) {
	if wanted == 0 {
		return float64(min(defaultCPUs, h.cpus)), nil
	}
	if wanted < 0 || math.IsNaN(wanted) {
		return 0, &drivers.Error{Op: "give the VM CPUs", Err: fmt.Errorf("%g is no number of CPUs", wanted), Hint: "use --cpus 1 or more"}
	}
	if wanted > float64(h.cpus) {
		return 0, &drivers.Error{
			Op:   "give the VM CPUs",
			Err:  fmt.Errorf("%g CPUs were asked for, this host has %d", wanted, h.cpus),
			Hint: fmt.Sprintf("use --cpus %d or less", h.cpus),
		}
	}
	if whole := math.Ceil(wanted); whole != wanted {
		return 0, &drivers.Error{
			Op:   "give the VM CPUs",
			Err:  fmt.Errorf("%g CPUs were asked for, a VM has whole ones", wanted),
			Hint: fmt.Sprintf("use --cpus %g, or --driver docker or podman", whole),
		}
	}
	return wanted, nil
}

// CheckMemory checks the guest's memory, in bytes; 0 becomes the default. It rounds up to
// whole MiB.
func (h *Host) CheckMemory(wanted int64) (int64, error) {
	if wanted == 0 {
		wanted = defaultMemory
	}
	if wanted < minMemory {
		return 0, &drivers.Error{
			Op:   "give the VM memory",
			Err:  fmt.Errorf("%s were asked for, a guest needs at least %s", size(wanted), size(minMemory)),
			Hint: "use --memory " + size(minMemory) + " or more",
		}
	}
	wanted = (wanted + 1<<20 - 1) &^ (1<<20 - 1)
	limit, what, err := h.memory()
	if err != nil {
		return 0, err
	}
	if wanted <= limit {
		return wanted, nil
	}
	return 0, &drivers.Error{
		Op:   "give the VM memory",
		Err:  fmt.Errorf("%s were asked for, %s is %s", size(wanted), what, size(limit)),
		Hint: "use less --memory, or free some",
	}
}

// CheckDisk checks the size of the VM's disk, in bytes; 0 becomes the default. It rounds
// up to whole MiB. The disk will lie in dir.
func CheckDisk(wanted int64, dir string) (int64, error) {
	refused := func(limit int64, hint string) error {
		return &drivers.Error{
			Op: "give the VM a disk", Hint: hint,
			Err: fmt.Errorf("%s were asked for, the limit is %s", size(wanted), size(limit)),
		}
	}
	switch {
	case wanted == 0:
		return freeDisk(dir), nil
	case wanted < minDisk:
		return 0, refused(minDisk, "use --disk "+size(minDisk)+" or more")
	case wanted > maxDisk:
		return 0, refused(maxDisk, "use --disk "+size(maxDisk)+" or less")
	}
	return (wanted + 1<<20 - 1) &^ (1<<20 - 1), nil
}

// freeDisk returns the default size, halved until it is at most half of what is free, but
// not below minDisk.
func freeDisk(dir string) int64 {
	var st unix.Statfs_t
	for unix.Statfs(dir, &st) != nil && dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir) // the driver makes dir later
	}
	disk, free := int64(DefaultDisk), int64(st.Bavail)*st.Bsize
	for disk > minDisk && disk > free/2 {
		disk /= 2
	}
	return disk
}

func size(n int64) string {
	return units.CustomSize("%.4g%s", float64(n), 1024, []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"})
}

// memory returns the lowest limit on a VM's memory, and what sets it.
func (h *Host) memory() (limit int64, what string, err error) {
	limit, err = h.memAvailable()
	if err != nil {
		return 0, "", err
	}
	what = "MemAvailable of this host"
	for _, file := range h.cgroupLimits() {
		if n, ok := readLimit(file); ok && n < limit {
			limit, what = n, "the cgroup's limit ("+file+")"
		}
	}
	return limit, what, nil
}

func (h *Host) memAvailable() (int64, error) {
	value, err := procfs.Field(filepath.Join(h.root, "proc/meminfo"), "MemAvailable")
	if err != nil {
		return 0, err
	}
	kib, err := strconv.ParseInt(strings.TrimSuffix(value, " kB"), 10, 64)
	return kib << 10, err
}

// cgroupLimits lists the files that may limit this process's memory: those of its cgroup
// and of all cgroups above, in both versions.
func (h *Host) cgroupLimits() []string {
	own, err := procfs.Cgroups(filepath.Join(h.root, "proc/self/cgroup"))
	if err != nil {
		return nil
	}
	var files []string
	for _, c := range own {
		mounts, name := []string{"sys/fs/cgroup", "sys/fs/cgroup/unified"}, "memory.max"
		if !c.V2 {
			if !slices.Contains(c.Controllers, "memory") {
				continue
			}
			mounts, name = []string{"sys/fs/cgroup/memory"}, "memory.limit_in_bytes"
		}
		for _, mount := range mounts {
			for dir := filepath.Clean("/" + c.Path); ; dir = filepath.Dir(dir) {
				files = append(files, filepath.Join(h.root, mount, dir, name))
				if dir == "/" {
					break
				}
			}
		}
	}
	return files
}

// readLimit reads a cgroup's limit. "max" and a missing file mean no limit.
func readLimit(file string) (int64, bool) {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	return n, err == nil
}

// namesMargin is more names than a guest can look up between two counts of those that it
// remembers.
const namesMargin = 16 << 10

// Names returns how many unused names of the host's files a guest may remember. It
// follows from the number of descriptors that a jail gives to a file server.
func Names() uint64 { return namesLimit(maxDescriptors()) }

// namesLimit leaves at least half of the descriptors for what the guest has in use.
func namesLimit(descriptors uint64) uint64 {
	return min(descriptors/2, max(descriptors/8, descriptors-min(descriptors, namesMargin)))
}

// maxDescriptors returns the limit on descriptors that a jail sets for a program; 0 if
// not known.
func maxDescriptors() uint64 {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return 0
	}
	return files.Max
}
