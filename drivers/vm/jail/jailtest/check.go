package jailtest

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Want is all that a running process may have from its jail and from its parent. Paths are
// the jail's.
type Want struct {
	Paths    []string // mount points, in any order, without the root itself
	Writable []string // those of Paths that are not read-only
	Devices  []string // those of Paths that are device nodes
	Root     string   // the root of the process's own chroot; "" if it made none

	Caps  uint64   // effective; nothing beside them can be had back
	Kept  uint64   // by threads other than the first
	Env   []string // K=V
	Tasks uint64   // limit on its processes; 0 for none

	HostNetwork bool // it has the host's network

	Sockets, Pipes int      // at most so many
	HostFiles      []string // files outside of the jail that it was given open, as patterns
}

// Check compares what the running process pid has, by the host's /proc, with want. It logs
// what it saw.
func Check(t *testing.T, pid int, want Want) {
	t.Helper()
	p := process{T: t, dir: fmt.Sprintf("/proc/%d", pid), want: want}
	p.checkThreads()
	p.checkNamespaces()
	p.checkMounts()
	p.checkTree()
	p.checkDescriptors()
	p.checkLimits()
	p.checkEnvironment()
}

// process is a process that is being checked.
type process struct {
	*testing.T
	dir  string // in /proc
	want Want
}

func (p process) read(name string) string {
	p.Helper()
	data, err := os.ReadFile(filepath.Join(p.dir, name))
	if err != nil {
		p.Fatal(err)
	}
	return string(data)
}

func (p process) link(name string) string {
	p.Helper()
	link, err := os.Readlink(filepath.Join(p.dir, name))
	if err != nil {
		p.Fatal(err)
	}
	return link
}

func (p process) list(name string) []string {
	p.Helper()
	entries, err := os.ReadDir(filepath.Join(p.dir, name))
	if err != nil {
		p.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// checkThreads wants every thread to be confined: the kernel keeps these settings for each
// thread.
func (p process) checkThreads() {
	p.Helper()
	for _, task := range p.list("task") {
		data, err := os.ReadFile(filepath.Join(p.dir, "task", task, "status"))
		if err != nil {
			continue // it has ended since
		}
		p.checkStatus(task, fields(string(data)))
	}
}

// fields parses lines of the form "name: value".
func fields(text string) map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, ":")
		all[name] = strings.TrimSpace(value)
	}
	return all
}

func (p process) checkStatus(task string, status map[string]string) {
	p.Helper()
	first := task == filepath.Base(p.dir)
	caps := map[string]uint64{}
	for _, name := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
		set, err := strconv.ParseUint(status[name], 16, 64)
		if err != nil {
			p.Errorf("the kernel does not tell %s: %q", name, status[name])
		}
		caps[name] = set
		if extra := set &^ p.want.Caps; extra != 0 && (first || extra&^p.want.Kept != 0 || name == "CapAmb") {
			p.Errorf("thread %s has capabilities %x in %s", task, extra, name)
		}
	}
	if first && (caps["CapEff"] != p.want.Caps || caps["CapPrm"] != p.want.Caps) {
		p.Errorf("it has the capabilities %x, not %x", caps["CapEff"], p.want.Caps)
	}
	if status["NoNewPrivs"] != "1" || status["Seccomp"] != "2" {
		p.Errorf("thread %s has NoNewPrivs %s, Seccomp %s", task, status["NoNewPrivs"], status["Seccomp"])
	}
	if os.Geteuid() == 0 && status["Groups"] != "" {
		p.Errorf("thread %s is in the groups %s", task, status["Groups"])
	}
	if first || caps["CapEff"] != p.want.Caps {
		p.Logf("thread %s: CapEff %x CapPrm %x CapBnd %x NoNewPrivs %s Seccomp %s", task,
			caps["CapEff"], caps["CapPrm"], caps["CapBnd"], status["NoNewPrivs"], status["Seccomp"])
	}
}

func (p process) checkNamespaces() {
	p.Helper()
	self := process{T: p.T, dir: "/proc/self"}
	for _, kind := range []string{"mnt", "pid", "ipc", "uts", "net", "user"} {
		if own := p.link("ns/" + kind); (own == self.link("ns/"+kind)) != (kind == "net" && p.want.HostNetwork) {
			p.Errorf("its %s, and the host's %s", own, self.link("ns/"+kind))
		}
	}
}

// visible returns the paths as the process sees them, after its own chroot.
func (p process) visible(paths []string) []string {
	if p.want.Root == "" {
		return paths
	}
	var inside []string
	for _, name := range paths {
		if rest, ok := strings.CutPrefix(name, p.want.Root); ok && (rest == "" || rest[0] == '/') {
			inside = append(inside, path.Join("/", rest))
		}
	}
	return inside
}

// checkMounts wants the listed mounts and no others. All of them must be private, and only
// the listed ones writable.
func (p process) checkMounts() {
	p.Helper()
	expected := p.visible(p.want.Paths)
	if p.want.Root == "" {
		expected = append(slices.Clone(expected), "/")
	}
	writable := p.visible(p.want.Writable)
	var found []string
	for line := range strings.Lines(p.read("mountinfo")) {
		f := strings.Fields(line)
		point, options := f[4], strings.Split(f[5], ",")
		found = append(found, point)
		if !slices.Contains(expected, point) {
			p.Errorf("there is a mount on %s", point)
		}
		if slices.Contains(writable, point) == slices.Contains(options, "ro") || !slices.Contains(options, "nosuid") {
			p.Errorf("the mount on %s has %v", point, options)
		}
		if strings.Contains(line, "shared:") || strings.Contains(line, "master:") {
			p.Errorf("the mount on %s is not private: %s", point, line)
		}
	}
	for _, point := range expected {
		if !slices.Contains(found, point) {
			p.Errorf("nothing is mounted on %s", point)
		}
	}
	p.Logf("%d mounts, writable: %v", len(found), writable)
}

// checkTree wants no path but the mounts and the directories on the way to them.
func (p process) checkTree() {
	p.Helper()
	if root := p.link("root"); root != path.Join("/", p.want.Root) {
		p.Errorf("its root is %s", root)
	}
	mounts := p.visible(p.want.Paths)
	if slices.Contains(mounts, "/") {
		return // it is in the share
	}
	allowed := []string{"/", "/proc", "/proc/self", "/proc/thread-self"}
	for _, m := range mounts {
		for dir := m; dir != "/"; dir = path.Dir(dir) {
			allowed = append(allowed, dir)
		}
	}
	root := filepath.Join(p.dir, "root")
	seen := 0
	err := filepath.WalkDir(root+"/", func(name string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		inside := path.Join("/", strings.TrimPrefix(name, root))
		seen++
		if !slices.Contains(allowed, inside) {
			p.Errorf("its tree has %s", inside)
		}
		if slices.Contains(mounts, inside) && d.IsDir() {
			return filepath.SkipDir
		}
		return nil
	})
	if err != nil || seen < 2 {
		p.Errorf("saw %d paths: %v", seen, err)
	}
}

func (p process) checkLimits() {
	p.Helper()
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		p.Fatal(err)
	}
	tasks := "unlimited"
	if p.want.Tasks > 0 {
		tasks = strconv.FormatUint(p.want.Tasks, 10)
	}
	limits := p.read("limits")
	for name, want := range map[string]string{
		"Max core file size": "0", "Max open files": strconv.FormatUint(files.Max, 10), "Max processes": tasks,
	} {
		_, rest, _ := strings.Cut(limits, "\n"+name)
		if values := strings.Fields(rest); len(values) < 2 || values[0] != want || values[1] != want {
			p.Errorf("%s: %v, not %s", name, values[:min(2, len(values))], want)
		}
	}
	if filter := strings.TrimSpace(p.read("coredump_filter")); strings.Trim(filter, "0") != "" {
		p.Errorf("what goes into a core dump: %s", filter)
	}
}

func (p process) checkEnvironment() {
	p.Helper()
	env := slices.DeleteFunc(strings.Split(p.read("environ"), "\x00"), func(s string) bool { return s == "" })
	if !slices.Equal(env, p.want.Env) {
		p.Errorf("its environment is %q, not %q", env, p.want.Env)
	}
}
