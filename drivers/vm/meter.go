package vm

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/monitor"
	"openshell-vm/internal/procfs"
)

// Usage counts all of a VM's processes on this host. It asks neither monitor nor guest, so
// it does not wait for them. Nobody counts what goes over the network yet.
func (d *Driver) Usage(_ context.Context, id string) (drivers.Usage, error) {
	b := d.sandbox(id)
	spec, err := b.spec()
	if err != nil {
		return drivers.Usage{}, err
	}
	pid, err := monitor.PID(b.dir)
	if err != nil || !monitor.Alive(b.dir) {
		return drivers.Usage{}, drivers.ErrNotRunning
	}
	u := drivers.Usage{At: time.Now(), MemoryLimit: spec.Memory, Read: new(int64), Written: new(int64)}
	for _, p := range family(pid) {
		count(&u, p)
	}
	if cfg, err := monitor.ReadConfig(b.dir); err == nil {
		// All of the VM's programs, and the page cache without what is not used.
		if used, ok := cfg.Cgroup.Used(); ok {
			u.Memory = used
		}
		u.MemoryLimit = cmp.Or(cfg.MemoryLimit, u.MemoryLimit)
	}
	if info, err := os.Stat(filepath.Join(b.dir, upperFile)); err == nil {
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			blocks := st.Blocks * 512
			u.Disk = &blocks
		}
	}
	return u, nil
}

// family is a process with all that descend from it.
func family(pid int) []int {
	children := map[int][]int{}
	for _, p := range procfs.PIDs() {
		if s, err := procfs.ReadStat(p); err == nil {
			children[s.Parent] = append(children[s.Parent], p)
		}
	}
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}

// ticks is the kernel's unit in /proc/PID/stat, for all of today's architectures.
const ticks = time.Second / 100

// count adds what a process has used. Of memory that several share it counts a part.
func count(u *drivers.Usage, pid int) {
	if s, err := procfs.ReadStat(pid); err == nil {
		u.CPU += time.Duration(s.Ticks) * ticks
	}
	u.Memory += amount(procfs.Path(pid, "smaps_rollup"), "Pss") << 10
	*u.Read += amount(procfs.Path(pid, "io"), "read_bytes")
	*u.Written += amount(procfs.Path(pid, "io"), "write_bytes")
}

// amount is the number behind a name in a file of the kernel's; 0 if it can't be read.
func amount(file, name string) int64 {
	text, err := procfs.Field(file, name)
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(text), " kB"), 10, 64)
	return n
}
