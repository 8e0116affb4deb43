//go:build cgo && linux

package krun

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// TestTraps has calls after which libkrun would panic, hang, truncate a value or expose
// the host. Each has to be refused before C is called.
func TestTraps(t *testing.T) {
	x := makeThings(t)
	link := filepath.Join(x.dir, "link")
	if err := os.Symlink(x.dir, link); err != nil {
		t.Fatal(err)
	}
	closed, err := os.Open(x.file)
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	missing := filepath.Join(x.dir, "no")
	long := longSocket(t, x.dir, 98)
	many := slices.Repeat([]string{"s"}, maxVector+1)
	mac := [6]byte{2}

	for _, test := range []struct {
		name string
		call func(c *Context) error
	}{
		{"NUL in a path", func(c *Context) error { return c.SetRoot(x.dir + "\x00") }},
		{"NUL in a tag", func(c *Context) error { return c.AddVirtioFS3("a\x00b", x.dir, 0, true) }},
		{"NUL in an argument", func(c *Context) error { return c.SetExec("/x", []string{"a\x00b"}, nil) }},
		{"NUL in an OEM string", func(c *Context) error { return c.SetSMBIOSOEMStrings([]string{"\x00"}) }},
		{"NUL in a port's name", func(c *Context) error { return (&Console{vm: c}).AddInOut("\x00", nil, x.out) }},
		{"not UTF-8", func(c *Context) error { return c.SetSMBIOSOEMStrings([]string{"\xff"}) }},
		{"empty tag", func(c *Context) error { return c.AddVirtioFS3("", x.dir, 0, true) }},
		{"tag of 37 bytes", func(c *Context) error { return c.AddVirtioFS3(strings.Repeat("t", 37), x.dir, 0, true) }},
		{"4096 arguments", func(c *Context) error { return c.SetExec("/x", many, nil) }},
		{"4096 OEM strings", func(c *Context) error { return c.SetSMBIOSOEMStrings(many) }},
		{"quote in an argument", func(c *Context) error { return c.SetExec("/x", []string{`say "hi"`}, nil) }},
		{"newline in an argument", func(c *Context) error { return c.SetExec("/x", []string{"a\nb"}, nil) }},
		{"tab in a variable", func(c *Context) error { return c.SetEnv([]string{"A=\t"}) }},
		{"umlaut in a variable", func(c *Context) error { return c.SetEnv([]string{"A=ä"}) }},
		{"space in the program's path", func(c *Context) error { return c.SetExec("/a b", nil, nil) }},
		{"empty program", func(c *Context) error { return c.SetExec("", nil, nil) }},
		{"space in the working directory", func(c *Context) error { return c.SetWorkdir("/a b") }},
		{"no limits, past the end of which the init reads", func(c *Context) error { return c.SetRlimits(nil) }},
		{"limit of a resource that is not there", func(c *Context) error { return c.SetRlimits([]Rlimit{{Resource: 16}}) }},
		{"limit of a negative resource", func(c *Context) error { return c.SetRlimits([]Rlimit{{Resource: -1}}) }},
		{"soft limit over the hard one", func(c *Context) error { return c.SetRlimits([]Rlimit{{7, 2, 1}}) }},
		{"variable without a name", func(c *Context) error { return c.SetEnv([]string{"=v"}) }},
		{"variable without a value", func(c *Context) error { return c.SetEnv([]string{"V"}) }},
		{"variable that is a module's parameter", func(c *Context) error { return c.SetEnv([]string{"a.b=c"}) }},
		{"arguments of 1,650 bytes", func(c *Context) error { return c.SetExec("/x", []string{strings.Repeat("a", 1650)}, nil) }},
		{"kernel command line too long", func(c *Context) error {
			return c.SetKernel(Kernel{Path: x.file, Format: KernelELF, CmdLine: strings.Repeat("a", 2000)})
		}},
		{"kernel missing", func(c *Context) error { return c.SetKernel(Kernel{Path: x.dir + "/no"}) }},
		{"initramfs missing", func(c *Context) error { return c.SetKernel(Kernel{Path: x.file, Initramfs: x.dir + "/no"}) }},
		{"firmware missing", func(c *Context) error { return c.SetFirmware(x.dir + "/no") }},
		{"share missing", func(c *Context) error { return c.AddVirtioFS3("t", x.dir+"/no", 0, true) }},
		{"share relative", func(c *Context) error { return c.AddVirtioFS3("t", ".", 0, true) }},
		{"share a symlink", func(c *Context) error { return c.AddVirtioFS3("t", link, 0, true) }},
		{"share a symlink with a slash", func(c *Context) error { return c.AddVirtioFS3("t", link+"/", 0, true) }},
		{"share a symlink with a dot", func(c *Context) error { return c.AddVirtioFS3("t", link+"/.", 0, true) }},
		{"share a file", func(c *Context) error { return c.AddVirtioFS3("t", x.file, 0, true) }},
		{"share without a path", func(c *Context) error { return c.AddVirtioFS2("t", "", 0) }},
		{"root a symlink", func(c *Context) error { return c.SetRoot(link) }},
		{"disk missing", func(c *Context) error { return c.AddDisk3(Disk{ID: "d", Path: x.dir + "/no"}) }},
		{"disk a directory", func(c *Context) error { return c.AddDisk3(Disk{ID: "d", Path: x.dir}) }},
		{"disk without an id", func(c *Context) error { return c.AddDisk3(Disk{Path: x.file}) }},
		{"AddDisk cannot say qcow2", func(c *Context) error { return c.AddDisk(Disk{ID: "d", Path: x.file, Format: DiskQcow2}) }},
		{"AddDisk2 cannot say direct", func(c *Context) error { return c.AddDisk2(Disk{ID: "d", Path: x.file, DirectIO: true}) }},
		{"no CPU", func(c *Context) error { return c.SetVMConfig(0, 128) }},
		{"256 CPUs, which would be 0", func(c *Context) error { return c.SetVMConfig(256, 128) }},
		{"no memory", func(c *Context) error { return c.SetVMConfig(1, 0) }},
		{"4 EiB of memory, which would be 0", func(c *Context) error { return c.SetVMConfig(1, 1<<32) }},
		{"guest's port mapped twice", func(c *Context) error { return c.SetPortMap([]PortMapping{{1, 2}, {3, 2}}) }},
		{"host's port mapped twice", func(c *Context) error { return c.SetPortMap([]PortMapping{{1, 2}, {1, 3}}) }},
		{"port 0", func(c *Context) error { return c.SetPortMap([]PortMapping{{1, 0}}) }},
		{"vsock beside the implicit one", func(c *Context) error { return c.AddVsock(TSINone) }},
		{"socket path of 108 bytes", func(c *Context) error { return c.AddVsockPort2(1, "/"+strings.Repeat("a", 107), true) }},
		{"socket to be made in no directory", func(c *Context) error { return c.AddVsockPort2(1, missing+"/s", true) }},
		{"network socket missing", func(c *Context) error { return c.AddNetUnixStream(Net{Path: missing, MAC: mac}) }},
		{"network socket a file", func(c *Context) error { return c.AddNetUnixGram(Net{Path: x.file, MAC: mac}) }},
		{"network socket without room for libkrun's own", func(c *Context) error { return c.AddNetUnixGram(Net{Path: long, MAC: mac}) }},
		{"gvproxy without room for libkrun's own", func(c *Context) error { return c.SetGvproxyPath(long) }},
		{"gvproxy missing", func(c *Context) error { return c.SetGvproxyPath(missing) }},
		{"network without a backend", func(c *Context) error { return c.AddNetUnixStream(Net{MAC: mac}) }},
		{"network with two backends", func(c *Context) error { return c.AddNetUnixGram(Net{Path: x.socket, File: x.out, MAC: mac}) }},
		{"network without an address", func(c *Context) error { return c.AddNetTap(Tap{Name: "tap0"}) }},
		{"network with a multicast address", func(c *Context) error { return c.SetNetMAC([6]byte{1, 2, 3, 4, 5, 6}) }},
		{"tap name of 16 bytes", func(c *Context) error { return c.AddNetTap(Tap{Name: strings.Repeat("t", 16), MAC: mac}) }},
		{"passt without a descriptor", func(c *Context) error { return c.SetPasstFD(nil) }},
		{"closed descriptor", func(c *Context) error { return (&Console{vm: c}).AddInOut("p", closed, nil) }},
		{"port without input and output", func(c *Context) error { return (&Console{vm: c}).AddInOut("p", nil, nil) }},
		{"terminal port without a terminal", func(c *Context) error { return (&Console{vm: c}).AddTTY("", nil) }},
		{"log to a closed file, which would be standard error", func(c *Context) error { return c.lib.InitLog(Log{File: closed}) }},
		{"log style on which the file is closed", func(c *Context) error { return c.lib.InitLog(Log{File: x.out, Style: 3}) }},
		{"log level that would be another", func(c *Context) error { return c.lib.SetLogLevel(LogTrace + 1) }},
		{"empty OEM string", func(c *Context) error { return c.SetSMBIOSOEMStrings([]string{"a", ""}) }},
		{"overlay on no share", func(c *Context) error { return c.FSAddOverlayDir("t", "etc", 0o40755) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, calls := open(t, "1.19.0")
			if err := test.call(c); !errors.Is(err, ErrInvalid) {
				t.Errorf("%v", err)
			}
			if got := calls(); got[0] != "" {
				t.Errorf("C was called: %q", got)
			}
		})
	}
}

// longSocket makes a socket whose path has size bytes.
func longSocket(t *testing.T, dir string, size int) string {
	t.Helper()
	path := filepath.Join(dir, strings.Repeat("s", size-len(dir)-1))
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return path
}

// TestLimits checks the largest values that are accepted, just below those in TestTraps.
func TestLimits(t *testing.T) {
	x := makeThings(t)
	for name, call := range map[string]func(c *Context) error{
		"tag of 36 bytes":  func(c *Context) error { return c.AddVirtioFS3(strings.Repeat("t", 36), x.dir, 0, true) },
		"4095 OEM strings": func(c *Context) error { return c.SetSMBIOSOEMStrings(slices.Repeat([]string{"s"}, maxVector)) },
		"network socket of 97 bytes": func(c *Context) error {
			return c.AddNetUnixGram(Net{Path: longSocket(t, x.dir, 97), MAC: [6]byte{2}})
		},
		"stream socket of 107 bytes": func(c *Context) error {
			return c.AddNetUnixStream(Net{Path: longSocket(t, x.dir, 107), MAC: [6]byte{2}})
		},
		"path of 107 bytes": func(c *Context) error { return c.AddVsockPort2(1, "/"+strings.Repeat("a", 106), true) },
		"1,300 bytes":       func(c *Context) error { return c.SetExec("/x", []string{strings.Repeat("a", 1300)}, nil) },
		"the environment replaced": func(c *Context) error {
			long := []string{"A=" + strings.Repeat("a", 700)}
			return errors.Join(c.SetEnv(long), c.SetExec("/x", nil, long), c.SetEnv(long))
		},
		"an init of one's own": func(c *Context) error {
			return errors.Join(c.DisableImplicitInit(), c.SetRoot(x.dir),
				c.FSAddOverlayFile(OverlayFile{Tag: RootTag, Path: "init.krun", Mode: 0o755}))
		},
		"four serial ports": func(c *Context) error {
			for range 4 {
				if err := c.AddSerialConsoleDefault(nil, x.out); err != nil {
					return err
				}
			}
			return nil
		},
		"no directory": func(c *Context) error { return c.AddVirtioFS3("t", "", 0, true) },
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := open(t, "1.19.0")
			if err := call(c); err != nil {
				t.Error(err)
			}
		})
	}
	c, _ := open(t, "1.18.0")
	if err := c.AddVirtioFS3("t", "", 0, true); !errors.Is(err, ErrInvalid) {
		t.Errorf("a share without a directory on 1.18: %v", err)
	}
}

// TestTwice has calls that must not be made twice, or not in this order.
func TestTwice(t *testing.T) {
	x := makeThings(t)
	kernel := Kernel{Path: x.file, Format: KernelELF, CmdLine: "quiet"}
	for name, calls := range map[string][2]func(c *Context) error{
		"tag": {
			func(c *Context) error { return c.AddVirtioFS3("t", x.dir, 0, true) },
			func(c *Context) error { return c.AddVirtioFS("t", x.dir) },
		},
		"root": {
			func(c *Context) error { return c.AddVirtioFS3(RootTag, x.dir, 0, true) },
			func(c *Context) error { return c.SetRoot(x.dir) },
		},
		"disk id": {
			func(c *Context) error { return c.AddDisk(Disk{ID: "d", Path: x.file}) },
			func(c *Context) error { return c.AddDisk3(Disk{ID: "d", Path: x.file}) },
		},
		"old and new disks": {
			func(c *Context) error { return c.SetRootDisk(x.file) },
			func(c *Context) error { return c.AddDisk(Disk{ID: "d", Path: x.file}) },
		},
		"new and old disks": {
			func(c *Context) error { return c.AddDisk(Disk{ID: "d", Path: x.file}) },
			func(c *Context) error { return c.SetDataDisk(x.file) },
		},
		"root on a disk, too": {
			func(c *Context) error {
				return errors.Join(c.SetRoot(x.dir), c.AddDisk(Disk{ID: "d", Path: x.file}))
			},
			func(c *Context) error { return c.SetRootDiskRemount("/dev/vda", "", "") },
		},
		"port name": {
			func(c *Context) error { return (&Console{vm: c}).AddInOut("p", nil, x.out) },
			func(c *Context) error { return (&Console{vm: c}).AddInOut("p", x.out, nil) },
		},
		"init after the root": {
			func(c *Context) error { return c.SetRoot(x.dir) },
			func(c *Context) error { return c.DisableImplicitInit() },
		},
		"no console= to replace": {
			func(c *Context) error { return c.SetKernel(kernel) },
			func(c *Context) error { return c.SetKernelConsole("ttyS0") },
		},
		"no console= to be replaced": {
			func(c *Context) error { return c.SetKernelConsole("ttyS0") },
			func(c *Context) error { return c.SetKernel(kernel) },
		},
		"vsock port": {
			func(c *Context) error { return c.AddVsockPort(1, "/s") },
			func(c *Context) error { return c.AddVsockPort2(1, "/t", false) },
		},
		"overlay": {
			func(c *Context) error {
				return errors.Join(c.AddVirtioFS3("t", x.dir, 0, true), c.FSAddOverlayDir("t", "etc", 0o755))
			},
			func(c *Context) error { return c.FSAddOverlayFile(OverlayFile{Tag: "t", Path: "/etc"}) },
		},
		"overlay over the implicit init": {
			func(c *Context) error { return c.SetRoot(x.dir) },
			func(c *Context) error { return c.FSAddOverlayFile(OverlayFile{Tag: RootTag, Path: "init.krun"}) },
		},
		"overlay out of its share": {
			func(c *Context) error { return c.AddVirtioFS3("t", x.dir, 0, true) },
			func(c *Context) error { return c.FSAddOverlayDir("t", "a/../../b", 0o40755) },
		},
		"command lines that only together are too long": {
			func(c *Context) error { return c.SetWorkdir("/" + strings.Repeat("w", 700)) },
			func(c *Context) error { return c.SetExec("/x", []string{strings.Repeat("a", 700)}, nil) },
		},
		"environment beside the command": {
			func(c *Context) error { return c.SetExec("/x", []string{strings.Repeat("a", 700)}, nil) },
			func(c *Context) error { return c.SetEnv([]string{"A=" + strings.Repeat("a", 700)}) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := open(t, "1.19.0")
			if err := calls[0](c); err != nil {
				t.Fatal(err)
			}
			if err := calls[1](c); !errors.Is(err, ErrInvalid) {
				t.Error(err)
			}
		})
	}
}

// TestInterruptLines adds devices up to the number of interrupt lines.
func TestInterruptLines(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the limit of 11 is x86-64's")
	}
	x := makeThings(t)
	c, _ := open(t, "1.19.0")
	for i := range 9 { // and the balloon and the random number generator
		if err := c.AddVirtioFS3(fmt.Sprint(i), x.dir, 0, true); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.AddVirtioFS3("tenth", x.dir, 0, true); !errors.Is(err, ErrInvalid) {
		t.Errorf("a twelfth device: %v", err)
	}
	if err := errors.Join(c.SetVMConfig(1, 128), c.SetExec("/x", nil, nil), c.DisableImplicitVsock()); err != nil {
		t.Fatal(err)
	}
	if err := c.StartEnter(); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "12 virtio devices") {
		t.Errorf("with the implicit console it is one too many: %v", err)
	}
	if err := c.DisableImplicitConsole(); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CONTRACT_RETURN", "krun_start_enter=-22")
	if err := c.StartEnter(); errors.Is(err, ErrInvalid) {
		t.Errorf("without it they fit: %v", err)
	}
}

// TestNothingByDefault starts VMs without settings for which libkrun would choose a
// default itself.
func TestNothingByDefault(t *testing.T) {
	x := makeThings(t)
	size := func(c *Context) error { return c.SetVMConfig(1, 128) }
	env := func(c *Context) error { return c.SetEnv(nil) }
	ports := func(c *Context) error { return c.SetPortMap(nil) }
	inet := func(c *Context) error { return c.AddVsock(TSIInet) }
	network := func(c *Context) error { return c.AddNetUnixStream(Net{File: x.out, MAC: [6]byte{2}}) }
	passt := func(c *Context) error { return c.SetPasstFD(x.out) }
	noVsock := (*Context).DisableImplicitVsock
	type calls []func(c *Context) error
	for _, test := range []struct {
		name, version string
		refused       bool
		calls         calls
	}{
		{"nothing", "1.19.0", true, nil},
		{"no environment", "1.19.0", true, calls{size, noVsock}},
		{"no size", "1.19.0", true, calls{env, noVsock}},
		{"implicit vsock", "1.19.0", true, calls{size, env}},
		{"implicit vsock with a port map", "1.19.0", true, calls{size, env, ports}},
		{"implicit vsock with a network", "1.19.0", true, calls{size, env, network}},
		{"no vsock", "1.19.0", false, calls{size, env, noVsock}},
		{"the host's network without a port map", "1.19.0", true, calls{size, env, noVsock, inet}},
		{"the host's network with a port map", "1.19.0", false, calls{size, env, noVsock, inet, ports}},
		{"vsock without the host's network", "1.19.0", false, calls{size, env, noVsock, func(c *Context) error { return c.AddVsock(TSINone) }}},
		{"a network of its own", "1.19.0", false, calls{size, env, noVsock, network}},
		{"vsock that cannot be disabled", "1.9.0", true, calls{size, env}},
		{"vsock that cannot be disabled with a port map", "1.9.0", false, calls{size, env, ports}},
		{"vsock that cannot be disabled with a network", "1.9.0", false, calls{size, env, passt}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, calls := open(t, test.version)
			for _, call := range test.calls {
				if err := call(c); err != nil {
					t.Fatal(err)
				}
			}
			calls()
			t.Setenv("CONTRACT_RETURN", "krun_start_enter=-22")
			err := c.StartEnter()
			if errors.Is(err, ErrInvalid) != test.refused {
				t.Error(err)
			}
			if got := calls()[0] == ""; got != test.refused {
				t.Errorf("C was called: %v", !got)
			}
		})
	}
}

// TestAbortsAtTheStart has settings that libkrun accepts and that make it abort at the
// start.
func TestAbortsAtTheStart(t *testing.T) {
	x := makeThings(t)
	firmware := compile(t, firmware5, "-DFIRMWARE", "-Wl,-soname,"+firmware5) // its kernel ends at 64 MiB
	memory := func(mib int) func(c *Context) error {
		return func(c *Context) error { return c.SetVMConfig(1, mib) }
	}
	console := func(ports int) func(c *Context) error {
		return func(c *Context) error {
			p, err := c.AddVirtioConsoleMultiport()
			for i := range ports {
				err = errors.Join(err, p.AddInOut(fmt.Sprint(i), nil, x.out))
			}
			return err
		}
	}
	raw := func(c *Context) error { return c.SetKernel(Kernel{Path: x.file}) }
	elf := func(c *Context) error { return c.SetKernel(Kernel{Path: x.file, Format: KernelELF}) }
	type calls []func(c *Context) error
	for _, test := range []struct {
		name    string
		refused bool
		amd64   bool
		calls   calls
	}{
		{"memory that the kernel fills", false, false, calls{memory(64)}},
		{"memory that the kernel does not fit into", true, false, calls{memory(63)}},
		{"little memory for a kernel not known", false, false, calls{memory(63), elf}},
		{"raw kernel above the memory", true, true, calls{memory(2048), raw}},
		{"raw kernel in the memory", false, true, calls{memory(2049), raw}},
		{"console without ports", true, false, calls{memory(64), console(0)}},
		{"console with a port", false, false, calls{memory(64), console(1)}},
		{"two consoles, one without ports", true, false, calls{memory(64), console(1), console(0)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.amd64 && runtime.GOARCH != "amd64" {
				t.Skip("only x86-64 loads raw kernels so")
			}
			if err := os.WriteFile(x.file, []byte("kernel"), 0o644); err != nil {
				t.Fatal(err)
			}
			old, _ := contract(t, "1.19.0")
			lib, err := Open(Options{Path: old.Path(), Firmware: firmware})
			if err != nil {
				t.Fatal(err)
			}
			c, err := lib.NewContext()
			if err != nil {
				t.Fatal(err)
			}
			for _, call := range append(test.calls, (*Context).DisableImplicitVsock, func(c *Context) error { return c.SetEnv(nil) }) {
				if err := call(c); err != nil {
					t.Fatal(err)
				}
			}
			t.Setenv("CONTRACT_RETURN", "krun_start_enter=-22")
			if err := c.StartEnter(); errors.Is(err, ErrInvalid) != test.refused {
				t.Error(err)
			}
		})
	}
}

// TestX86 has settings that libkrun ignores or does not survive, only on x86-64.
func TestX86(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("these are x86-64's")
	}
	x := makeThings(t)
	for name, call := range map[string]func(c *Context) error{
		"initramfs of a raw kernel":    func(c *Context) error { return c.SetKernel(Kernel{Path: x.file, Initramfs: x.file}) },
		"command line of a raw kernel": func(c *Context) error { return c.SetKernel(Kernel{Path: x.file, CmdLine: "quiet"}) },
		"fifth serial port": func(c *Context) (err error) {
			for range 5 {
				err = errors.Join(err, c.AddSerialConsoleDefault(nil, x.out))
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := open(t, "1.19.0")
			if err := call(c); !errors.Is(err, ErrInvalid) {
				t.Error(err)
			}
		})
	}
}

// TestEnvironmentIsNeverNULL checks that C never gets NULL as the environment: libkrun
// would take this process's environment.
func TestEnvironmentIsNeverNULL(t *testing.T) {
	c, calls := open(t, "1.19.0")
	if err := errors.Join(c.SetExec("/x", nil, nil), c.SetEnv(nil)); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(calls()); got != `[krun_set_exec 7 "/x" [] [] krun_set_env 7 []]` {
		t.Errorf("C saw %s", got)
	}
}
