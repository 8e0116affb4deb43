//go:build cgo && linux

package krun

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// contractDir holds the contract libraries that this run has built.
var contractDir string

func TestMain(m *testing.M) {
	if os.Getenv("CONTRACT_CHILD") != "" {
		startChild()
	}
	dir, err := os.MkdirTemp("", "krun-contract")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	contractDir = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

var built sync.Map // of file name to func() error

// compile builds a library from testdata/contract.c.
func compile(t *testing.T, name string, flags ...string) string {
	t.Helper()
	cc, err := exec.LookPath("cc")
	if err != nil {
		if os.Getenv("E2E_REQUIRE") == "1" {
			t.Fatal("no C compiler for the contract library:", err)
		}
		t.Skip("no C compiler for the contract library:", err)
	}
	path := filepath.Join(contractDir, name)
	build, _ := built.LoadOrStore(name, sync.OnceValue(func() error {
		args := append([]string{"-Wall", "-Wextra", "-Werror", "-Wno-format-zero-length", "-shared", "-fPIC", "-o", path}, flags...)
		if out, err := exec.Command(cc, append(args, "testdata/contract.c")...).CombinedOutput(); err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	}))
	if err := build.(func() error)(); err != nil {
		t.Fatal(err)
	}
	return path
}

// versions are those that the contract library can pretend to be.
var versions = map[string]string{"1.9.0": "10900", "1.16.0": "11600", "1.17.0": "11700", "1.18.0": "11800", "1.19.0": "11900"}

// contract opens the contract library as a version. calls returns the calls that it got.
func contract(t *testing.T, version string) (lib *Library, calls func() []string) {
	t.Helper()
	lib, err := Open(Options{Path: compile(t, version+".so", "-DVERSION="+versions[version]), NoFirmware: true})
	if err != nil {
		t.Fatal(err)
	}
	clear(logging.started) // the recording library does not mind
	log := filepath.Join(t.TempDir(), "calls")
	t.Setenv("CONTRACT_LOG", log)
	t.Setenv("CONTRACT_RETURN", "")
	return lib, func() []string {
		data, err := os.ReadFile(log)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		os.Remove(log)
		return strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	}
}

// open makes a context of the contract library at a version.
func open(t *testing.T, version string) (*Context, func() []string) {
	t.Helper()
	lib, calls := contract(t, version)
	c, err := lib.NewContext()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	calls()
	return c, calls
}

// TestEveryFunction calls every function once, on the newest library, and compares the
// arguments on the C side.
func TestEveryFunction(t *testing.T) {
	x := makeThings(t)
	c, calls := open(t, "1.19.0")
	seen := map[string]bool{}
	for _, e := range each {
		seen[e.symbol] = true
		if e.call == nil {
			continue
		}
		t.Run(e.symbol, func(t *testing.T) {
			on := c
			if independent[e.symbol] {
				on = &Context{lib: c.lib, id: 7, state: newState()}
			}
			on.devices, on.disks, on.text = 0, nil, map[fn]int{} // this is about arguments
			err := e.call(on, x)
			shutAll(on.descriptors) // so that the next of FD finds things.out
			on.descriptors = nil
			if err != nil {
				t.Fatal(err)
			}
			want := strings.NewReplacer("FD", fmt.Sprint(x.out.Fd()), "TTY", fmt.Sprint(x.tty.Fd()),
				"DIR", x.dir, "FILE", x.file, "SOCKET", x.socket).Replace(e.want)
			got := calls()
			if line := strings.TrimSpace(e.symbol + " " + want); len(got) != 1 || got[0] != line {
				t.Errorf("C saw %q, want %q", got, line)
			}
		})
	}
	for _, s := range Bound() {
		if !seen[s.Name] {
			t.Errorf("%s is bound and not tested", s.Name)
		}
	}
}

// TestEveryGate opens an old library. Every newer function has to be refused with its name
// and version, before C is called.
func TestEveryGate(t *testing.T) {
	for _, version := range []string{"1.9.0", "1.17.0", "1.18.0"} {
		t.Run(version, func(t *testing.T) {
			x := makeThings(t)
			c, calls := open(t, version)
			for _, e := range each {
				since := sinceOf(t, e.symbol)
				if e.call == nil || !olderThan(version, since) {
					continue
				}
				err := e.call(&Context{lib: c.lib, id: 7, state: newState()}, x)
				var kerr *Error
				if !errors.As(err, &kerr) || !errors.Is(err, ErrUnsupported) || !errors.Is(err, errors.ErrUnsupported) ||
					kerr.Symbol != e.symbol || kerr.Since != since {
					t.Errorf("%s: %v", e.symbol, err)
				}
				if c.lib.Has(e.symbol) {
					t.Errorf("the library says that it has %s", e.symbol)
				}
			}
			if got := calls(); got[0] != "" {
				t.Errorf("C was called: %q", got)
			}
			if got := c.lib.Version(); got != version {
				t.Errorf("taken for %s", got)
			}
		})
	}
}

func sinceOf(t *testing.T, symbol string) string {
	t.Helper()
	for _, s := range Bound() {
		if s.Name == symbol {
			return s.Since
		}
	}
	t.Fatalf("%s is not bound", symbol)
	return ""
}

// TestReturns lets each function return errors and undefined values.
func TestReturns(t *testing.T) {
	x := makeThings(t)
	for _, test := range []struct {
		ret  string
		want error
	}{
		{"-22", syscall.EINVAL}, {"-19", syscall.ENODEV}, {"-4095", syscall.Errno(4095)},
		{"-4096", ErrProtocol}, {"-2147483648", ErrProtocol}, {"1", ErrProtocol},
	} {
		for _, e := range each {
			if e.call == nil || test.ret == "1" && numeric[e.symbol] {
				continue
			}
			c, _ := open(t, "1.19.0")
			if strings.HasPrefix(e.symbol, "krun_fs_add") {
				c.tags = []string{"t3"}
			}
			c.set[disableImplicitVsock] = e.symbol == "krun_add_vsock"
			t.Setenv("CONTRACT_RETURN", e.symbol+"="+test.ret)
			err := e.call(c, x)
			var kerr *Error
			if !errors.As(err, &kerr) || kerr.Symbol != e.symbol || !errors.Is(err, test.want) {
				t.Errorf("%s returned %s: %v", e.symbol, test.ret, err)
			}
			t.Setenv("CONTRACT_RETURN", "")
		}
	}
}

// numeric functions return a number.
var numeric = map[string]bool{
	"krun_get_shutdown_eventfd": true, "krun_check_nested_virt": true, "krun_get_max_vcpus": true,
	"krun_has_feature": true, "krun_add_virtio_console_multiport": true, "krun_get_default_init": true,
}

func TestContext(t *testing.T) {
	lib, calls := contract(t, "1.19.0")
	c, err := lib.NewContext()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if got := fmt.Sprint(calls()); got != "[krun_create_ctx krun_free_ctx 7]" {
		t.Errorf("C saw %s", got)
	}
	if err := c.SetVMConfig(1, 128); !errors.Is(err, ErrClosed) {
		t.Errorf("a closed context: %v", err)
	}
	if err := c.StartEnter(); !errors.Is(err, ErrClosed) {
		t.Errorf("a closed context: %v", err)
	}
	t.Setenv("CONTRACT_RETURN", "krun_create_ctx=-12")
	if _, err := lib.NewContext(); !errors.Is(err, syscall.ENOMEM) {
		t.Errorf("no context: %v", err)
	}
}

func TestRootDiskRemount(t *testing.T) {
	x := makeThings(t)
	c, calls := open(t, "1.19.0")
	if err := c.SetRootDiskRemount("/dev/vda", "auto", ""); !errors.Is(err, ErrInvalid) {
		t.Errorf("without a disk: %v", err)
	}
	if err := c.AddDisk(Disk{ID: "d", Path: x.file}); err != nil {
		t.Fatal(err)
	}
	calls()
	if err := c.SetRootDiskRemount("/dev/vda", "ext4", ""); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(calls()); got != `[krun_set_root_disk_remount 7 "/dev/vda" "ext4" NULL]` {
		t.Errorf("C saw %s", got)
	}
	if err := c.SetRoot(x.dir); !errors.Is(err, ErrInvalid) {
		t.Errorf("a second root: %v", err)
	}
}

// TestDiskSync checks the numbers of the modes, which C counts in the other direction.
func TestDiskSync(t *testing.T) {
	x := makeThings(t)
	for sync, want := range map[DiskSync]string{SyncFull: "2", SyncRelaxed: "1", SyncNone: "0"} {
		c, calls := open(t, "1.19.0")
		if err := c.AddDisk3(Disk{ID: "d", Path: x.file, Sync: sync}); err != nil {
			t.Fatal(err)
		}
		if got := calls()[0]; !strings.HasSuffix(got, " "+want) {
			t.Errorf("mode %d: C saw %s", sync, got)
		}
	}
}

func TestLogStartsOnce(t *testing.T) {
	lib, calls := contract(t, "1.19.0")
	t.Setenv("CONTRACT_RETURN", "krun_set_log_level=-22")
	if err := lib.SetLogLevel(LogTrace); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("a failed start: %v", err)
	}
	t.Setenv("CONTRACT_RETURN", "")
	if err := lib.SetLogLevel(LogTrace); err != nil {
		t.Errorf("after a failed one: %v", err)
	}
	if got := calls(); got[0] != "krun_set_log_level 5" {
		t.Errorf("C saw %q", got)
	}
	again, err := Open(Options{Path: lib.Path(), NoFirmware: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []*Library{lib, again} {
		if err := l.InitLog(Log{}); !errors.Is(err, ErrInvalid) {
			t.Errorf("a second start: %v", err)
		}
	}
	if got := calls(); got[0] != "" {
		t.Errorf("C saw %q", got)
	}
}

// TestTruth checks that a function which returns 0 or 1 may return no other number.
func TestTruth(t *testing.T) {
	lib, _ := contract(t, "1.19.0")
	for ret, want := range map[string]error{"0": nil, "1": nil, "2": ErrProtocol, "-22": syscall.EINVAL} {
		t.Setenv("CONTRACT_RETURN", "krun_has_feature="+ret+",krun_check_nested_virt="+ret)
		has, err := lib.HasFeature(FeatureNet)
		if !errors.Is(err, want) || has != (ret == "1") {
			t.Errorf("HasFeature of %s: %v, %v", ret, has, err)
		}
		nested, err := lib.CheckNestedVirt()
		if !errors.Is(err, want) || nested != (ret == "1") {
			t.Errorf("CheckNestedVirt of %s: %v, %v", ret, nested, err)
		}
	}
}

// TestDescriptors checks that C gets duplicates of descriptors, and that only the context
// closes them.
func TestDescriptors(t *testing.T) {
	x := makeThings(t)
	c, calls := open(t, "1.19.0")
	before := descriptors(t)
	if err := c.AddSerialConsoleDefault(x.out, x.out); err != nil {
		t.Fatal(err)
	}
	if made := descriptors(t) - before; made != 2 {
		t.Errorf("%d duplicates for one file given twice", made)
	}
	t.Setenv("CONTRACT_RETURN", "krun_add_serial_console_default=-22")
	if err := c.AddSerialConsoleDefault(x.out, nil); !errors.Is(err, syscall.EINVAL) {
		t.Fatal(err)
	}
	closed, err := os.Open(x.file)
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	if err := c.AddSerialConsoleDefault(x.out, closed); !errors.Is(err, ErrInvalid) {
		t.Fatal(err)
	}
	if made := descriptors(t) - before; made != 2 {
		t.Errorf("%d duplicates after two failures", made)
	}
	t.Setenv("CONTRACT_RETURN", "")
	calls()
	x.out.Close()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if made := descriptors(t) - before; made != -1 {
		t.Errorf("%d descriptors remained", made+1)
	}
}

// descriptors counts this process's.
func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// TestCloseFails checks that descriptors stay open if C may still use them.
func TestCloseFails(t *testing.T) {
	x := makeThings(t)
	c, _ := open(t, "1.19.0")
	if err := c.AddSerialConsoleDefault(nil, x.out); err != nil {
		t.Fatal(err)
	}
	before := descriptors(t)
	t.Setenv("CONTRACT_RETURN", "krun_free_ctx=-2")
	if err := c.Close(); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("%v", err)
	}
	if now := descriptors(t); now != before {
		t.Errorf("%d descriptors, %d before", now, before)
	}
}

// TestConcurrentUse calls methods at once, for the race detector.
func TestConcurrentUse(t *testing.T) {
	x := makeThings(t)
	c, calls := open(t, "1.19.0")
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			c.AddVirtioFS3(fmt.Sprint(i), x.dir, 0, true)
			c.SetEnv([]string{fmt.Sprintf("I=%d", i)})
			c.lib.MaxVCPUs()
		})
	}
	all.Wait()
	for range 2 {
		all.Go(func() { c.Close() })
	}
	all.Wait()
	freed := 0
	for _, call := range calls() {
		if call == "krun_free_ctx 7" {
			freed++
		}
	}
	if freed != 1 {
		t.Errorf("the context was freed %d times", freed)
	}
}
