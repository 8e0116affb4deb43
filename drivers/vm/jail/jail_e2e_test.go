//go:build e2e

package jail

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers/vm/jail/jailtest"
	"openshell-vm/internal/inode"
	"openshell-vm/internal/procfs"
)

// patience bounds one wait for something to happen. It is generous: nothing here
// promises speed, and other tests keep the machine busy.
const patience = 2 * time.Minute

func init() {
	roles["sleep"] = func([]string) { time.Sleep(time.Hour) }
}

// ownConfig returns the Config for the test binary in one of its roles.
func ownConfig(t testing.TB, args ...string) Config {
	self := jailtest.Self(t)
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
func start(t testing.TB, cfg Config, prepare func(*Cmd), extra ...*os.File) (*Cmd, Report) {
	t.Helper()
	cmd, err := Command(jailtest.Self(t), cfg, extra...)
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

// TestIntruder puts a hostile program in a jail. All its attempts have to fail.
func TestIntruder(t *testing.T) {
	jailtest.BuildIntruder(t)
	jailtest.AsBoth(t, func(t *testing.T) {
		dir := t.TempDir()
		share, program := filepath.Join(dir, "shares/own/auth"), filepath.Join(dir, "intruder")
		targets := jailtest.Targets{
			Host: jailtest.NewHost(t, dir, dir), Share: "/shared", Covered: "/shared/hidden", Scratch: "/tmp",
		}
		jailtest.Control(t, targets)
		jailtest.FillShare(t, share)
		jailtest.WriteIntruder(t, program, jailtest.Role{Targets: targets})
		submount(t, share)
		cfg := Config{
			Name: fmt.Sprintf("test-%d", os.Getpid()), Profile: Strict, Path: "/program",
			Binds: []Bind{{Source: program, Target: "/program", Exec: true}, {Source: share, Target: "/shared"}},
			Masks: []string{targets.Covered}, Tmpfs: []string{targets.Scratch}, Proc: true, Tasks: 40,
		}
		var out, errs bytes.Buffer
		cmd, report := start(t, cfg, func(c *Cmd) { c.Stdout, c.Stderr = &out, &errs })
		cmd.Wait() // it ends in failure, for want of a thread
		jailtest.Judge(t, out.String(), "", targets, nil)
		t.Logf("at most %d tasks, by the cgroups %v %s", report.Tasks, report.Cgroups, report.NoCgroup)
		jailtest.JudgeThreads(t, out.String()+errs.String(), report.Tasks)
		if data, err := os.ReadFile(share + "/file"); err != nil || string(data) != "content" {
			t.Errorf("the host's file is now %q, %v", data, err)
		}
		for _, dir := range report.Cgroups {
			if _, err := os.Stat(dir); err == nil {
				t.Errorf("cgroup %s is left", dir)
			}
		}
	})
}

// submount mounts a writable tmpfs below the share, if the test runs as root.
func submount(t *testing.T, share string) {
	if os.Geteuid() != 0 {
		return
	}
	if err := unix.Mount("none", share+"/sub", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(share+"/sub", unix.MNT_DETACH) })
}

// TestSeenFromOutside looks at a running jail in the host's /proc.
func TestSeenFromOutside(t *testing.T) {
	jailtest.AsBoth(t, func(t *testing.T) {
		share := t.TempDir()
		jailtest.FillShare(t, share)
		cfg := ownConfig(t, "sleep")
		cfg.Binds = append(cfg.Binds, Bind{Source: share, Target: "/shared"})
		cfg.Masks = []string{"/shared/hidden"}
		given, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer given.Close()
		leaked, err := os.Open(share + "/file") // inherited by nobody
		if err != nil {
			t.Fatal(err)
		}
		defer leaked.Close()
		cmd, report := start(t, cfg, nil, given)
		defer end(cmd)
		want := seen(report)
		want.Devices = cfg.Devices
		jailtest.Check(t, cmd.Process.Pid, want)
	})
}

// seen returns what a process may have in a jail with that report.
func seen(r Report) jailtest.Want {
	want := jailtest.Want{Tasks: 64, HostFiles: []string{os.DevNull}}
	for _, m := range r.Mounts {
		target, _, _ := strings.Cut(m, " ")
		want.Paths = append(want.Paths, target)
	}
	return want
}

func end(cmd *Cmd) {
	cmd.Process.Kill()
	cmd.Wait()
}

func init() {
	// A monitor that the test will kill. It prints its jail's process id.
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

// TestDeathOfTheMonitor kills a monitor. Its jail has to go.
func TestDeathOfTheMonitor(t *testing.T) {
	jailtest.AsBoth(t, func(t *testing.T) {
		cfg := ownConfig(t, "sleep")
		argument, err := json.Marshal(cfg)
		if err != nil {
			t.Fatal(err)
		}
		monitor := exec.Command(jailtest.Self(t), "monitor", string(argument))
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
		for deadline := time.Now().Add(patience); !gone(pid); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("process %d of the jail outlived its monitor", pid)
			}
		}
		// The next jail of that name uses the cgroup that is left, and removes it at its end.
		next, _ := start(t, cfg, nil)
		end(next)
		if left := cgroups(cgroupPrefix + cfg.Name); len(left) > 0 {
			t.Errorf("cgroups are left: %v", left)
		}
	})
}

// cgroups returns the cgroups with name in their names, in every hierarchy.
func cgroups(name string) (found []string) {
	filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.Contains(d.Name(), name) {
			found = append(found, path)
		}
		return nil
	})
	return found
}

// gone reports whether pid has ended. It may be a zombie.
func gone(pid int) bool { return !procfs.Runs(pid) }

// TestFailuresAreTold spoils a jail in each way that only the jail itself finds.
func TestFailuresAreTold(t *testing.T) {
	jailtest.AsBoth(t, func(t *testing.T) {
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
			{"another directory than was checked", func(c *Config) {
				c.Binds = append(c.Binds, Bind{Source: dir, Is: inode.ID{Device: 1, Inode: 2}, Target: "/x"})
			}, "another directory than the one that was checked"},
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
				cmd, err := Command(jailtest.Self(t), cfg)
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
				if left := cgroups(cgroupPrefix + cfg.Name); len(left) > 0 {
					t.Errorf("cgroups are left: %v", left)
				}
			})
		}
	})
}

// TestSupport asks what this host can't give.
func TestSupport(t *testing.T) {
	jailtest.AsBoth(t, func(t *testing.T) {
		r, err := Support(jailtest.Self(t))
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
