//go:build e2e

package jail

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const ordinaryUser = 1500

// asBoth runs test as whoever runs the tests and, if that is root, once more as an
// ordinary user, by a process of its own.
func asBoth(t *testing.T, test func(t *testing.T)) {
	if os.Geteuid() != 0 {
		t.Run("user", test)
		return
	}
	t.Run("root", test)
	t.Run("user", func(t *testing.T) {
		dir := openDir(t)
		binary := filepath.Join(dir, "jail.test")
		copyFile(t, selfPath(t), binary)
		parent, _, _ := strings.Cut(t.Name(), "/")
		cmd := exec.Command(binary, "-test.run=^"+parent+"$", "-test.v")
		cmd.Dir = "/"
		cmd.Env = append(os.Environ(), "TMPDIR="+userDir(t), "HOME=/")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{
			Uid: ordinaryUser, Gid: ordinaryUser, Groups: append([]uint32{ordinaryUser}, kvmGroup()...),
		}}
		out, err := cmd.CombinedOutput()
		t.Logf("%s", out)
		if err != nil {
			t.Errorf("as user %d: %v", ordinaryUser, err)
		}
	})
}

// openDir is a temporary directory that everybody may enter.
func openDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "jail")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// userDir belongs to the ordinary user.
func userDir(t *testing.T) string {
	dir := openDir(t)
	if err := os.Chown(dir, ordinaryUser, ordinaryUser); err != nil {
		t.Fatal(err)
	}
	return dir
}

func kvmGroup() []uint32 {
	g, err := user.LookupGroup("kvm")
	if err != nil {
		return nil
	}
	id, err := strconv.ParseUint(g.Gid, 10, 32)
	if err != nil {
		return nil
	}
	return []uint32{uint32(id)}
}

func copyFile(t *testing.T, from, to string) {
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o755); err != nil {
		t.Fatal(err)
	}
}

func selfPath(t *testing.T) string {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return self
}

// ownConfig is a jail for the test binary in one of its roles.
func ownConfig(t *testing.T, args ...string) Config {
	self := selfPath(t)
	binds, err := Program(t.Context(), self)
	if err != nil {
		t.Fatal(err)
	}
	for i := range binds {
		if binds[i].Source == self {
			binds[i].Target = "/program"
		}
	}
	return Config{
		Name: fmt.Sprintf("test-%d", os.Getpid()), Profile: Strict, Path: "/program", Args: args,
		Binds: binds, Proc: true, Devices: []string{"/dev/null", "/dev/urandom"}, Tasks: 64,
	}
}

// start starts cfg's program and ends it with the test.
func start(t *testing.T, cfg Config, prepare func(*Cmd), extra ...*os.File) (*Cmd, Report) {
	t.Helper()
	cmd, err := Command(selfPath(t), cfg, extra...)
	if err != nil {
		t.Fatal(err)
	}
	if prepare != nil {
		prepare(cmd)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	report, err := cmd.Report()
	if err != nil {
		cmd.Wait()
		t.Fatal(err)
	}
	return cmd, report
}

// hostTree is a little host: a share with something hidden in it, another
// share, and keys.
type hostTree struct{ share, other, keys, socket string }

func makeHostTree(t *testing.T) hostTree {
	root := t.TempDir()
	h := hostTree{
		share: filepath.Join(root, "shares/a/auth"), other: filepath.Join(root, "shares/b/auth"),
		keys: filepath.Join(root, "keys/1.pem"), socket: filepath.Join(root, "gateway.sock"),
	}
	for _, dir := range []string{h.share + "/hidden", h.share + "/sub", h.other, filepath.Dir(h.keys)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{h.share + "/file", h.share + "/hidden/secret", h.other + "/sandbox.jwt", h.keys} {
		if err := os.WriteFile(file, []byte("content"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	copyFile(t, "/bin/true", h.share+"/program")
	return h
}

// TestIntruder puts a hostile program in the VMM's place. Every attempt of it
// must fail, as it does here.
func TestIntruder(t *testing.T) {
	asBoth(t, func(t *testing.T) {
		h := makeHostTree(t)
		targets := targets{Keys: h.keys, OtherShare: h.other + "/sandbox.jwt", Socket: h.socket, PID: os.Getpid()}
		targets.Abstract, targets.Port = listenAll(t, h.socket)
		for _, check := range []struct{ name, path string }{{"keys", targets.Keys}, {"share", targets.OtherShare}} {
			if _, err := os.ReadFile(check.path); err != nil {
				t.Fatalf("the attempt would prove nothing: %v", err)
			}
		}
		argument, err := json.Marshal(targets)
		if err != nil {
			t.Fatal(err)
		}
		submount(t, h)
		cfg := ownConfig(t, "intrude", string(argument))
		cfg.Binds = append(cfg.Binds, Bind{Source: h.share, Target: "/shared"})
		cfg.Masks = []string{"/shared/hidden"}
		cfg.Tmpfs = []string{"/tmp"}
		var out, errs bytes.Buffer
		cmd, _ := start(t, cfg, func(c *Cmd) { c.Stdout, c.Stderr = &out, &errs })
		if err := cmd.Wait(); err != nil {
			t.Fatalf("the intruder ended with %v\n%s", err, errs.String())
		}
		judge(t, &out, len(tries(targets)))
		if data, err := os.ReadFile(h.share + "/file"); err != nil || string(data) != "content" {
			t.Errorf("the host's file is now %q, %v", data, err)
		}
	})
}

// submount mounts a writable tmpfs below the share, where root can.
func submount(t *testing.T, h hostTree) {
	if os.Geteuid() != 0 {
		return
	}
	if err := unix.Mount("none", h.share+"/sub", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(h.share+"/sub", unix.MNT_DETACH) })
}

// listenAll listens on the host in every way that the intruder tries.
func listenAll(t *testing.T, path string) (abstract string, port int) {
	abstract = fmt.Sprintf("@jail-test-%d", os.Getpid())
	for _, name := range []string{path, abstract} {
		l, err := net.Listen("unix", name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return abstract, l.Addr().(*net.TCPAddr).Port
}

// judge prints each attempt with its errno and compares it with what it should
// be: EPERM unless listed.
func judge(t *testing.T, out io.Reader, want int) {
	expected := map[string][]syscall.Errno{
		"a call of the x32 ABI": {unix.ENOSYS}, "clone3": {unix.ENOSYS},
		"list the root":                      {unix.EACCES},
		"mknod a device in the jail's tmpfs": {unix.EACCES, unix.EPERM},
		"run a program of the share":         {unix.EACCES},
		"run a program of the jail's tmpfs":  {unix.EACCES},
		"connect to the host's loopback":     {unix.EACCES, unix.ENETUNREACH},
		"connect to an abstract socket":      {unix.ECONNREFUSED},
		"signal the host's process":          {unix.ESRCH},
	}
	for _, name := range []string{
		"open /etc/shadow", "open the keys", "open another share", "open .. out of the share: /etc/shadow",
		"open .. out of the share: the keys", "open .. out of the share: another share", "open by the process's root",
		"open by the process's directory", "see the host's process", "list a masked directory", "connect to the gateway's socket",
	} {
		expected[name] = []syscall.Errno{unix.ENOENT}
	}
	for _, name := range []string{
		"write to the share", "open a file of the share for writing", "truncate", "unlink", "rename", "chmod", "link", "symlink",
		"mkdir", "mknod a device in the share", "write below a submount of the share", "write to the jail's root", "write to /proc/sys",
	} {
		expected[name] = []syscall.Errno{unix.EROFS}
	}
	n := 0
	for dec := json.NewDecoder(out); ; n++ {
		var a attempt
		if err := dec.Decode(&a); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		allowed, ok := expected[a.Name]
		if !ok {
			allowed = []syscall.Errno{unix.EPERM}
		}
		t.Logf("%-42s %s", a.Name, unix.ErrnoName(a.Errno))
		if !slices.Contains(allowed, a.Errno) {
			t.Errorf("%s: %v (%s), not one of %v", a.Name, a.Errno, a.Says, allowed)
		}
	}
	if n != want {
		t.Errorf("%d attempts came back of %d", n, want)
	}
}

// TestSeenFromOutside looks at a running jail in the host's /proc.
func TestSeenFromOutside(t *testing.T) {
	asBoth(t, func(t *testing.T) {
		h := makeHostTree(t)
		cfg := ownConfig(t, "sleep")
		cfg.Binds = append(cfg.Binds, Bind{Source: h.share, Target: "/shared"})
		cfg.Masks = []string{"/shared/hidden"}
		given, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer given.Close()
		leaked, err := os.Open(h.keys) // inherited by nobody
		if err != nil {
			t.Fatal(err)
		}
		defer leaked.Close()
		cmd, report := start(t, cfg, nil, given)
		defer end(cmd)
		proc := fmt.Sprintf("/proc/%d/", cmd.Process.Pid)
		checkStatus(t, proc)
		checkMounts(t, proc, report)
		checkTree(t, proc+"root", report)
		checkDescriptors(t, proc+"fd", 4)
		checkLimits(t, proc)
		if env, err := os.ReadFile(proc + "environ"); err != nil || len(env) != 0 {
			t.Errorf("environment %q, %v", env, err)
		}
	})
}

func end(cmd *Cmd) {
	cmd.Process.Kill()
	cmd.Wait()
}

// checkStatus wants what the kernel says to be what was promised.
func checkStatus(t *testing.T, proc string) {
	status, err := os.ReadFile(proc + "status")
	if err != nil {
		t.Fatal(err)
	}
	for field, want := range map[string]string{
		"CapInh": "0000000000000000", "CapPrm": "0000000000000000", "CapEff": "0000000000000000",
		"CapBnd": "0000000000000000", "CapAmb": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2",
	} {
		found := false
		for line := range strings.Lines(string(status)) {
			if name, value, _ := strings.Cut(line, ":"); name == field {
				found = true
				t.Logf("%s %s", field, strings.TrimSpace(value))
				if strings.TrimSpace(value) != want {
					t.Errorf("%s is %s, not %s", field, strings.TrimSpace(value), want)
				}
			}
		}
		if !found {
			t.Errorf("the kernel does not tell %s", field)
		}
	}
}

// checkMounts wants the listed mounts, with what is mounted below them, and all
// of them read-only.
func checkMounts(t *testing.T, proc string, r Report) {
	data, err := os.ReadFile(proc + "mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{"/": true}
	for _, m := range r.Mounts {
		target, _, _ := strings.Cut(m, " ")
		listed[target] = true
	}
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		point, options := f[4], strings.Split(f[5], ",")
		if !listed[point] {
			t.Errorf("mount %s is not in the report", point)
		}
		delete(listed, point)
		if !slices.Contains(options, "ro") || !slices.Contains(options, "nosuid") {
			t.Errorf("mount %s has %v", point, options)
		}
		if strings.Contains(line, "shared:") || strings.Contains(line, "master:") {
			t.Errorf("mount %s is not private: %s", point, line)
		}
	}
	for point := range listed {
		t.Errorf("%s was reported and is not mounted", point)
	}
}

// checkTree wants no path but the mounts and the way to them.
func checkTree(t *testing.T, root string, r Report) {
	allowed := map[string]bool{"/proc": true, "/proc/self": true, "/proc/thread-self": true}
	mounts := map[string]bool{}
	for _, m := range r.Mounts {
		target, _, _ := strings.Cut(m, " ")
		mounts[target] = true
		for dir := target; dir != "/"; dir = filepath.Dir(dir) {
			allowed[dir] = true
		}
	}
	seen := 0
	err := filepath.WalkDir(root+"/", func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		inside := "/" + strings.Trim(strings.TrimPrefix(path, root), "/")
		if inside == "/" {
			return nil
		}
		seen++
		if !allowed[inside] {
			t.Errorf("the jail has %s", inside)
		}
		if mounts[inside] && d.IsDir() {
			return filepath.SkipDir
		}
		return nil
	})
	if err != nil || seen < len(r.Mounts) {
		t.Errorf("saw %d paths: %v", seen, err)
	}
}

// checkDescriptors wants n of them.
func checkDescriptors(t *testing.T, dir string, n int) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		link, err := os.Readlink(dir + "/" + e.Name())
		if err != nil {
			continue // closed since it was listed
		}
		t.Logf("descriptor %s %s", e.Name(), link)
		// The Go runtime of the program opens some of its own.
		if strings.HasPrefix(link, "anon_inode:") {
			continue
		}
		n--
		if strings.Contains(link, "1.pem") || strings.Contains(link, "memfd") {
			t.Errorf("it has %s", link)
		}
	}
	if n != 0 {
		t.Errorf("%d descriptors more or less than given", -n)
	}
}

func checkLimits(t *testing.T, proc string) {
	data, err := os.ReadFile(proc + "limits")
	if err != nil {
		t.Fatal(err)
	}
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "Max core file size") && (f[4] != "0" || f[5] != "0"):
			t.Errorf("core dumps: %s", line)
		case strings.HasPrefix(line, "Max open files") && f[3] != strconv.FormatUint(files.Max, 10):
			t.Errorf("descriptors: %s", line)
		}
	}
	if filter, err := os.ReadFile(proc + "coredump_filter"); err != nil || strings.Trim(string(filter), "0\n") != "" {
		t.Errorf("what goes into a core dump: %q, %v", filter, err)
	}
}

// TestTaskLimit lets a program start threads until it can't.
func TestTaskLimit(t *testing.T) {
	asBoth(t, func(t *testing.T) {
		cfg := ownConfig(t, "threads")
		cfg.Tasks = 40
		var errs bytes.Buffer
		cmd, report := start(t, cfg, func(c *Cmd) { c.Stderr = &errs })
		err := cmd.Wait()
		if report.Tasks == 0 {
			t.Skipf("nothing limits root's tasks here: %s", report.NoCgroup)
		}
		line, _, _ := strings.Cut(errs.String(), "\n")
		t.Logf("tasks %d: %s", report.Tasks, line)
		// The Go runtime says it in one of two ways, without cgo and with.
		told := strings.Contains(line, fmt.Sprintf("errno=%d", unix.EAGAIN)) || strings.Contains(line, "Resource temporarily unavailable")
		if err == nil || !told {
			t.Errorf("ended with %v: %s", err, line)
		}
		for _, dir := range report.Cgroups {
			if _, err := os.Stat(dir); err == nil {
				t.Errorf("cgroup %s is left", dir)
			}
		}
	})
}

func init() {
	// A monitor that is to be killed: it prints its jail's process id.
	roles["monitor"] = func(args []string) {
		var cfg Config
		if err := json.Unmarshal([]byte(args[0]), &cfg); err != nil {
			panic(err)
		}
		self, err := os.Executable()
		if err != nil {
			panic(err)
		}
		cmd, err := Command(self, cfg)
		if err == nil {
			err = cmd.Start()
		}
		if err == nil {
			_, err = cmd.Report()
		}
		if err != nil {
			panic(err)
		}
		fmt.Println(cmd.Process.Pid)
		cmd.Wait()
	}
}

// TestDeathOfTheMonitor kills it, and wants the jail gone.
func TestDeathOfTheMonitor(t *testing.T) {
	asBoth(t, func(t *testing.T) {
		cfg := ownConfig(t, "sleep")
		argument, err := json.Marshal(cfg)
		if err != nil {
			t.Fatal(err)
		}
		monitor := exec.Command(selfPath(t), "monitor", string(argument))
		monitor.Stderr = os.Stderr
		out, err := monitor.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := monitor.Start(); err != nil {
			t.Fatal(err)
		}
		var pid int
		if _, err := fmt.Fscan(out, &pid); err != nil {
			t.Fatal(err)
		}
		if err := unix.Kill(pid, 0); err != nil {
			t.Fatalf("the jail does not run: %v", err)
		}
		monitor.Process.Kill()
		monitor.Wait()
		for deadline := time.Now().Add(10 * time.Second); !gone(pid); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("process %d of the jail outlived its monitor", pid)
			}
		}
		for deadline := time.Now().Add(10 * time.Second); ; {
			if _, err := Support(selfPath(t)); err != nil { // the next jail sweeps
				t.Fatal(err)
			}
			left, _ := filepath.Glob("/sys/fs/cgroup/*/" + cgroupPrefix + cfg.Name)
			if len(left) == 0 {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("cgroups are left: %v", left)
			}
		}
	})
}

// gone says whether pid has ended; nobody may have waited for it.
func gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(stat), ") Z ")
}

// TestFailuresAreTold spoils a jail in each way that is only found inside.
func TestFailuresAreTold(t *testing.T) {
	asBoth(t, func(t *testing.T) {
		dir := t.TempDir()
		if err := os.Symlink("/etc", dir+"/link"); err != nil {
			t.Fatal(err)
		}
		tests := []struct {
			name  string
			spoil func(*Config)
			want  string
		}{
			{"a missing source", func(c *Config) { c.Binds = append(c.Binds, Bind{Source: "/nonexistent", Target: "/x"}) }, "take /nonexistent into the jail"},
			{"a missing device", func(c *Config) { c.Devices = []string{"/dev/nonexistent"} }, "take /dev/nonexistent"},
			{"a file as a device", func(c *Config) { c.Devices = []string{"/etc/passwd"} }, "no character device"},
			{"a missing working directory", func(c *Config) { c.Dir = "/none" }, "enter /none"},
			{"a missing program", func(c *Config) { c.Path = "/none" }, "exec /none"},
			{"a mask over nothing", func(c *Config) {
				c.Binds = append(c.Binds, Bind{Source: dir, Target: "/shared"})
				c.Masks = []string{"/shared/none"}
			}, "show /shared/none"},
			{"a target through a symlink", func(c *Config) {
				c.Binds = append(c.Binds, Bind{Source: dir, Target: "/shared"}, Bind{Source: dir, Target: "/shared/link/x"})
			}, "show /shared/link/x"},
			{"a mask through a symlink", func(c *Config) {
				c.Binds = append(c.Binds, Bind{Source: dir, Target: "/shared"})
				c.Masks = []string{"/shared/link"}
			}, "show /shared/link"},
		}
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				cfg := ownConfig(t, "sleep")
				tt.spoil(&cfg)
				cmd, err := Command(selfPath(t), cfg)
				if err != nil {
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				_, err = cmd.Report()
				t.Log(err)
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v", err)
					cmd.Process.Kill()
				}
				cmd.Wait()
				if left, _ := filepath.Glob("/sys/fs/cgroup/*/" + cgroupPrefix + cfg.Name); len(left) > 0 {
					t.Errorf("cgroups are left: %v", left)
				}
			})
		}
	})
}

// TestSupport asks what this host can't give.
func TestSupport(t *testing.T) {
	asBoth(t, func(t *testing.T) {
		r, err := Support(selfPath(t))
		if err != nil {
			t.Fatal(err)
		}
		text, _ := json.Marshal(r)
		t.Logf("%s", text)
		if !r.NoNewPrivs || !slices.Contains(r.Namespaces, "mount") {
			t.Errorf("got %+v", r)
		}
	})
}
