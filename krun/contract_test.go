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

// versions that the contract library pretends to be.
var versions = map[string]string{"1.9.0": "10900", "1.17.0": "11700", "1.18.0": "11800", "1.19.0": "11900"}

// contract opens the contract library as a version. What it is called with is
// read by the function that is returned.
func contract(t *testing.T, version string) (lib *Library, calls func() []string) {
	t.Helper()
	lib, err := Open(Options{Path: compile(t, version+".so", "-DVERSION="+versions[version]), NoFirmware: true})
	if err != nil {
		t.Fatal(err)
	}
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

// open makes a context of the library at a version.
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

// TestEveryFunction calls everything once, on the newest library, and reads
// what arrived on the C side.
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
			if err := e.call(on, x); err != nil {
				t.Fatal(err)
			}
			want := strings.NewReplacer("FD", fmt.Sprint(x.out.Fd()), "TTY", fmt.Sprint(x.tty.Fd()),
				"DIR", x.dir, "FILE", x.file).Replace(e.want)
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

// TestEveryGate pretends to be old and sees every newer function refused with
// its name and version, before C is reached.
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

// TestReturns gives each call wrong values back.
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
	if err := lib.InitLog(Log{}); !errors.Is(err, ErrInvalid) {
		t.Errorf("a second start: %v", err)
	}
	if got := calls(); got[0] != "" {
		t.Errorf("C saw %q", got)
	}
}

func TestOpen(t *testing.T) {
	lib := compile(t, "1.19.0.so", "-DVERSION=11900")
	firmware := compile(t, firmware5, "-DFIRMWARE", "-Wl,-soname,"+firmware5)
	nameless := compile(t, "nameless.so", "-DFIRMWARE", "-Wl,-soname,libother.so.1")
	broken := filepath.Join(t.TempDir(), libraryName)
	if err := os.WriteFile(broken, []byte("not a library"), 0o644); err != nil {
		t.Fatal(err)
	}
	ours := t.TempDir()
	data, err := os.ReadFile(lib)
	if err == nil {
		err = os.WriteFile(filepath.Join(ours, libraryName), data, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		options Options
		want    string // the path, or what the error says
	}{
		{"no firmware by its name", Options{Path: lib, Firmware: nameless}, "by its own name"},
		{"firmware missing", Options{Path: lib, Firmware: "/nonexistent/fw.so"}, "/nonexistent/fw.so"},
		{"firmware is something else", Options{Path: lib, Firmware: lib}, "krunfw_get_kernel"},
		{"explicit", Options{Path: lib, Firmware: firmware}, lib},
		{"explicit and missing is not searched for", Options{Path: "/nonexistent/krun.so", Dirs: []string{ours}, NoFirmware: true}, "/nonexistent/krun.so"},
		{"libkrun is something else", Options{Path: firmware, NoFirmware: true}, "krun_create_ctx"},
		{"our directory", Options{Dirs: []string{t.TempDir(), ours}, NoFirmware: true}, filepath.Join(ours, libraryName)},
		{"broken in our directory", Options{Dirs: []string{filepath.Dir(broken)}, NoFirmware: true}, broken},
	} {
		t.Run(test.name, func(t *testing.T) {
			l, err := Open(test.options)
			if err != nil {
				if !errors.Is(err, ErrNoLibrary) || !strings.Contains(err.Error(), test.want) {
					t.Fatal(err)
				}
				return
			}
			if l.Path() != test.want || l.Firmware() != test.options.Firmware {
				t.Errorf("loaded %s and %q", l.Path(), l.Firmware())
			}
		})
	}
}
