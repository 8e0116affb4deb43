//go:build cgo && linux

package krun

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// TestTraps has what libkrun answers with a panic, a hang, a truncated value or
// a door left open. Each is refused before C is called.
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
	many := slices.Repeat([]string{""}, maxVector+1)
	mac := [6]byte{2}

	for _, test := range []struct {
		name string
		call func(c *Context) error
	}{
		{"NUL in a path", func(c *Context) error { return c.SetRoot(x.dir + "\x00") }},
		{"NUL in a tag", func(c *Context) error { return c.AddVirtioFS3("a\x00b", x.dir, 0, true) }},
		{"NUL in an argument", func(c *Context) error { return c.SetExec("/x", []string{"a\x00b"}, nil) }},
		{"NUL in an OEM string", func(c *Context) error { return c.SetSMBIOSOEMStrings([]string{"\x00"}) }},
		{"NUL in a port's name", func(c *Context) error { return (&Console{c, 0}).AddInOut("\x00", nil, x.out) }},
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
		{"quote in a limit", func(c *Context) error { return c.SetRlimits([]string{`7="1:2`}) }},
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
		{"port mapped twice", func(c *Context) error { return c.SetPortMap([]PortMapping{{1, 2}, {1, 3}}) }},
		{"port 0", func(c *Context) error { return c.SetPortMap([]PortMapping{{1, 0}}) }},
		{"vsock beside the implicit one", func(c *Context) error { return c.AddVsock(TSINone) }},
		{"socket path of 108 bytes", func(c *Context) error { return c.AddVsockPort2(1, "/"+strings.Repeat("a", 107), true) }},
		{"network without a backend", func(c *Context) error { return c.AddNetUnixStream(Net{MAC: mac}) }},
		{"network with two backends", func(c *Context) error { return c.AddNetUnixGram(Net{Path: "/n", File: x.out, MAC: mac}) }},
		{"network without an address", func(c *Context) error { return c.AddNetTap(Tap{Name: "tap0"}) }},
		{"tap name of 16 bytes", func(c *Context) error { return c.AddNetTap(Tap{Name: strings.Repeat("t", 16), MAC: mac}) }},
		{"passt without a descriptor", func(c *Context) error { return c.SetPasstFD(nil) }},
		{"closed descriptor", func(c *Context) error { return (&Console{c, 0}).AddInOut("p", closed, nil) }},
		{"port without input and output", func(c *Context) error { return (&Console{c, 0}).AddInOut("p", nil, nil) }},
		{"terminal port without a terminal", func(c *Context) error { return (&Console{c, 0}).AddTTY("", nil) }},
		{"log to descriptor 0", func(c *Context) error { return c.lib.InitLog(Log{File: os.NewFile(0, "stdin")}) }},
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

// TestLimits is the other side of the numbers in TestTraps: what just fits, fits.
func TestLimits(t *testing.T) {
	x := makeThings(t)
	for name, call := range map[string]func(c *Context) error{
		"tag of 36 bytes":   func(c *Context) error { return c.AddVirtioFS3(strings.Repeat("t", 36), x.dir, 0, true) },
		"4095 OEM strings":  func(c *Context) error { return c.SetSMBIOSOEMStrings(slices.Repeat([]string{"s"}, maxVector)) },
		"path of 107 bytes": func(c *Context) error { return c.AddVsockPort2(1, "/"+strings.Repeat("a", 106), true) },
		"1,300 bytes":       func(c *Context) error { return c.SetExec("/x", []string{strings.Repeat("a", 1300)}, nil) },
		"no directory":      func(c *Context) error { return c.AddVirtioFS3("t", "", 0, true) },
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

// TestTwice has what must not be said twice, or not in this order.
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
		"port name": {
			func(c *Context) error { return (&Console{c, 0}).AddInOut("p", nil, x.out) },
			func(c *Context) error { return (&Console{c, 0}).AddInOut("p", x.out, nil) },
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
		"overlay out of its share": {
			func(c *Context) error { return c.AddVirtioFS3("t", x.dir, 0, true) },
			func(c *Context) error { return c.FSAddOverlayDir("t", "a/../../b", 0o40755) },
		},
		"command lines that only together are too long": {
			func(c *Context) error { return c.SetWorkdir("/" + strings.Repeat("w", 700)) },
			func(c *Context) error { return c.SetExec("/x", []string{strings.Repeat("a", 700)}, nil) },
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

// TestInterruptLines fills a VM with devices.
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

// TestNothingByDefault starts VMs that said nothing about what libkrun would
// then choose itself.
func TestNothingByDefault(t *testing.T) {
	x := makeThings(t)
	ready := func(c *Context) error { return errors.Join(c.SetVMConfig(1, 128), c.SetEnv(nil)) }
	for _, test := range []struct {
		name    string
		refused bool
		calls   []func(c *Context) error
	}{
		{"nothing", true, nil},
		{"no environment", true, []func(c *Context) error{func(c *Context) error { return c.SetVMConfig(1, 128) }, (*Context).DisableImplicitVsock}},
		{"no size", true, []func(c *Context) error{func(c *Context) error { return c.SetEnv(nil) }, (*Context).DisableImplicitVsock}},
		{"implicit vsock without a port map", true, []func(c *Context) error{ready}},
		{"implicit vsock with a port map", false, []func(c *Context) error{ready, func(c *Context) error { return c.SetPortMap(nil) }}},
		{"no vsock", false, []func(c *Context) error{ready, (*Context).DisableImplicitVsock}},
		{"the host's network without a port map", true, []func(c *Context) error{ready, (*Context).DisableImplicitVsock, func(c *Context) error { return c.AddVsock(TSIInet) }}},
		{"vsock without the host's network", false, []func(c *Context) error{ready, (*Context).DisableImplicitVsock, func(c *Context) error { return c.AddVsock(TSINone) }}},
		{"a network of its own", false, []func(c *Context) error{ready, func(c *Context) error { return c.AddNetUnixStream(Net{File: x.out, MAC: [6]byte{2}}) }}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, calls := open(t, "1.19.0")
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

// TestEnvironmentIsNeverNULL: NULL would be this process's own.
func TestEnvironmentIsNeverNULL(t *testing.T) {
	c, calls := open(t, "1.19.0")
	if err := errors.Join(c.SetExec("/x", nil, nil), c.SetEnv(nil)); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(calls()); got != `[krun_set_exec 7 "/x" [] [] krun_set_env 7 []]` {
		t.Errorf("C saw %s", got)
	}
}
