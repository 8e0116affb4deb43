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
	"openshell-vm/drivers/vm/monitor/api"
	"openshell-vm/internal/procfs"
)

// usageTimeout is how long the monitor may take to tell what it counts. Without it, that is
// missing.
const usageTimeout = time.Second

// Usage counts all of a VM's processes on this host. It asks the monitor for the network and
// the guest's processes, which the monitor knows: nobody waits for the guest.
func (d *Driver) Usage(ctx context.Context, id string) (drivers.Usage, error) {
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
	ctx, cancel := context.WithTimeout(ctx, usageTimeout)
	defer cancel()
	if r, err := b.ask(ctx, api.Request{Status: &struct{}{}}); err == nil {
		u.Received, u.Sent = r.Received, r.Sent
		if r.Processes > 0 {
			u.Processes = &r.Processes
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
