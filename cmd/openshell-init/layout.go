package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers/vm/guest"
	"openshell-vm/internal/contract"
	"openshell-vm/internal/fault"
	"openshell-vm/internal/mounts"
)

// Names in the init's own mount namespace. runDir is a tmpfs.
const (
	runDir      = "/run"
	lowerDir    = "/run/lower" // the rootfs, if it has a device of its own
	sharesAt    = "/run/shares"
	writableAt  = "/run/writable" // the devices that can be written to, by their tags
	upperDir    = "/run/upper"    // the disk, or a tmpfs
	newRoot     = "/run/root"     // the overlay
	skeletonDir = "/run/skeleton" // a tmpfs of its own; see package skeleton
	namesDir    = "/run/names"    // the files of package names
	mirrorsAt   = "/run/mirrors"  // a tmpfs of its own; see package mirror
)

// layout says where the guest finds what the host exposes, and what is special about
// this VM.
type layout struct {
	shares string // the composed shares
	lower  string // the rootfs directory
	guest.Traits
}

// oldTraits are the traits of a VM with a single device, if the boot spec has none. The
// gateways that wrote no traits knew one such hypervisor.
var oldTraits = guest.Traits{CachesNames: true, LoneDisk: true, ExitRequest: 0x7602, EndsByRestart: true}

// findShares mounts the shares device. A VM with a single device has the shares, and the
// root unless that is an image, in the init's own root, and needs no mount.
func findShares() (layout, error) {
	composed := filepath.Join("/", guest.SharesDir)
	if _, err := os.Stat(filepath.Join(composed, guest.BootDir)); err == nil {
		return layout{shares: composed, lower: filepath.Join("/", guest.RootDir), Traits: oldTraits}, nil
	}
	where := layout{shares: sharesAt, lower: lowerDir}
	if err := mountDevice(guest.TagShares, where.shares, unix.MS_RDONLY|plain); err != nil {
		return layout{}, err
	}
	return where, nil
}

// mountRoot mounts what the root is made of, if it has a device of its own.
func (l *layout) mountRoot(spec guest.BootSpec) error {
	switch {
	case spec.Image:
		l.lower = lowerDir
		return l.mountImage()
	case l.lower == lowerDir:
		return mountDevice(guest.TagRoot, l.lower, unix.MS_RDONLY|unix.MS_NOATIME)
	}
	return nil
}

// mountImage mounts the disk that is the root.
func (l layout) mountImage() error {
	dev, err := findDisk("/sys/block", l.isImage)
	if err != nil {
		return fmt.Errorf("find the image's disk: %w", err)
	}
	if err := os.MkdirAll(l.lower, 0o700); err != nil {
		return err
	}
	if err := unix.Mount(dev, l.lower, "erofs", unix.MS_RDONLY|unix.MS_NOATIME, ""); err != nil {
		return &fault.Error{Op: "mount the image", Err: err,
			Hint: "use a guest kernel that has EROFS, such as Debian's linux-image-cloud-amd64"}
	}
	return nil
}

// with returns l with the boot spec's traits, if it has any.
func (l layout) with(traits *guest.Traits) layout {
	if traits != nil {
		l.Traits = *traits
	}
	return l
}

func mountDevice(tag, target string, flags uintptr) error {
	if err := os.MkdirAll(target, 0o700); err != nil {
		return err
	}
	if err := unix.Mount(tag, target, "virtiofs", flags, ""); err != nil {
		return fmt.Errorf("mount the virtio-fs device %q: %w", tag, err)
	}
	return nil
}

// mountWritable mounts the devices that the sandbox may write to.
func mountWritable(spec guest.BootSpec) error {
	for _, m := range spec.Mounts {
		if !m.Writable {
			continue
		}
		if err := mountDevice(m.Name, filepath.Join(writableAt, m.Name), unix.MS_NOSUID|unix.MS_NODEV); err != nil {
			return err
		}
	}
	return nil
}

// maxSpec bounds the boot spec, in bytes.
const maxSpec = 8 << 20

func readSpec(shares string) (guest.BootSpec, error) {
	file := filepath.Join(shares, guest.BootDir, guest.SpecFile)
	info, err := os.Stat(file)
	if err != nil {
		return guest.BootSpec{}, fmt.Errorf("read the boot spec: %w", err)
	}
	if info.Size() > maxSpec {
		return guest.BootSpec{}, fmt.Errorf("the boot spec has %d bytes, more than %d", info.Size(), maxSpec)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return guest.BootSpec{}, fmt.Errorf("read the boot spec: %w", err)
	}
	return parseSpec(data)
}

// parseSpec reads a boot spec. It refuses one that this init can't carry out as it is
// meant.
func parseSpec(data []byte) (guest.BootSpec, error) {
	var spec guest.BootSpec
	if err := json.Unmarshal(data, &spec); err != nil {
		return spec, fmt.Errorf("the boot spec is broken: %w", err)
	}
	if spec.Version < guest.OldestSpec || spec.Version > guest.Version {
		return spec, &fault.Error{
			Op:   "read the boot spec",
			Err:  fmt.Errorf("its version is %d, this init knows %d", spec.Version, guest.Version),
			Hint: "install openshell-vm's programs from one release",
		}
	}
	if len(spec.Process.Args) == 0 {
		return spec, errors.New("the boot spec has no command")
	}
	if err := checkShares(spec); err != nil {
		return spec, err
	}
	for _, m := range spec.Mounts {
		if err := checkMount(m, spec); err != nil {
			return spec, err
		}
	}
	return spec, nil
}

// checkPaths refuses a name or a target that can't be.
func checkPaths(m guest.GuestMount) error {
	if !fs.ValidPath(m.Name) || m.Name == "." || strings.Contains(m.Name, "/") {
		return fmt.Errorf("the boot spec mounts %q, which is no name in the shares", m.Name)
	}
	if !path.IsAbs(m.Target) || path.Clean(m.Target) != m.Target || m.Target == "/" {
		return fmt.Errorf("the boot spec mounts %s at %q, which is no clean absolute path", m.Name, m.Target)
	}
	return nil
}

func checkMount(m guest.GuestMount, spec guest.BootSpec) error {
	if err := checkPaths(m); err != nil {
		return err
	}
	if mounts.Within(m.Target, contract.OwnDir) {
		return fmt.Errorf("the boot spec mounts %s at %s, in the share's place", m.Name, m.Target)
	}
	for _, s := range sharesOf(spec) {
		if mounts.Within(m.Target, s.Target) {
			return fmt.Errorf("the boot spec mounts %s at %s, in the place of the share %s", m.Name, m.Target, s.Name)
		}
	}
	return nil
}
