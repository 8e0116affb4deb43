//go:build cgo && linux

package krun

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// things are the files and sockets that the calls of the table need.
type things struct {
	dir, file, socket string
	out, tty          *os.File
}

func makeThings(t *testing.T) things {
	t.Helper()
	dir, err := os.MkdirTemp("", "krun") // short, for the socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "file")
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "socket")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { out.Close(); tty.Close(); listener.Close() })
	return things{dir, file, socket, out, tty}
}

// each has one call of every bound function that needs no other call before it, and the
// arguments that C must see. FD stands for things.out's number, TTY for things.tty's, and
// DIR, FILE and SOCKET for the paths.
var each = []struct {
	symbol string
	call   func(c *Context, x things) error
	want   string
}{
	{"krun_set_vm_config", func(c *Context, x things) error { return c.SetVMConfig(255, 4096) }, "7 255 4096"},
	{"krun_set_root", func(c *Context, x things) error { return c.SetRoot(x.dir) }, `7 "DIR"`},
	{"krun_set_exec", func(c *Context, x things) error { return c.SetExec("/init", []string{"a b", ""}, []string{"K=v w"}) }, `7 "/init" ["a b"""] ["K=v w"]`},
	{"krun_set_workdir", func(c *Context, x things) error { return c.SetWorkdir("/w") }, `7 "/w"`},
	{"krun_set_port_map", func(c *Context, x things) error { return c.SetPortMap([]PortMapping{{8080, 80}, {2222, 22}}) }, `7 ["8080:80""2222:22"]`},
	{"krun_set_rlimits", func(c *Context, x things) error { return c.SetRlimits([]Rlimit{{7, 1, RlimitInfinity}, {8, 2, 2}}) }, `7 ["7=1:18446744073709551615""8=2:2"]`},
	{"krun_set_root_disk", func(c *Context, x things) error { return c.SetRootDisk(x.file) }, `7 "FILE"`},
	{"krun_set_env", func(c *Context, x things) error { return c.SetEnv([]string{"A=1", "B="}) }, `7 ["A=1""B="]`},
	{"krun_set_data_disk", func(c *Context, x things) error { return c.SetDataDisk(x.file) }, `7 "FILE"`},
	{"krun_set_passt_fd", func(c *Context, x things) error { return c.SetPasstFD(x.out) }, `7 FD`},
	{"krun_add_virtiofs", func(c *Context, x things) error { return c.AddVirtioFS("t", x.dir) }, `7 "t" "DIR"`},
	{"krun_add_vsock_port", func(c *Context, x things) error { return c.AddVsockPort(1024, "/s") }, `7 1024 "/s"`},
	{"krun_get_shutdown_eventfd", func(c *Context, x things) error {
		n, err := c.ShutdownEventFD()
		return expect(n, 9, err)
	}, `7`},
	{"krun_set_console_output", func(c *Context, x things) error { return c.SetConsoleOutput("/o") }, `7 "/o"`},
	{"krun_set_gvproxy_path", func(c *Context, x things) error { return c.SetGvproxyPath(x.socket) }, `7 "SOCKET"`},
	{"krun_set_net_mac", func(c *Context, x things) error { return c.SetNetMAC([6]byte{2, 0, 0xff, 3, 4, 5}) }, `7 02:00:ff:03:04:05`},
	{"krun_set_gpu_options", func(c *Context, x things) error { return c.SetGPUOptions(VirglVenus | VirglDRM) }, `7 1088`},
	{"krun_set_snd_device", func(c *Context, x things) error { return c.SetSndDevice(true) }, `7 true`},
	{"krun_set_smbios_oem_strings", func(c *Context, x things) error { return c.SetSMBIOSOEMStrings([]string{"a=b", "ä"}) }, `7 ["a=b""ä"]`},
	{"krun_add_virtiofs2", func(c *Context, x things) error { return c.AddVirtioFS2("t2", x.dir, 1<<33) }, `7 "t2" "DIR" 8589934592`},
	{"krun_add_disk", func(c *Context, x things) error { return c.AddDisk(Disk{ID: "d", Path: x.file, ReadOnly: true}) }, `7 "d" "FILE" true`},
	{"krun_set_gpu_options2", func(c *Context, x things) error { return c.SetGPUOptions2(VirglUseEGL, 1<<34) }, `7 1 17179869184`},
	{"krun_add_disk2", func(c *Context, x things) error { return c.AddDisk2(Disk{ID: "d", Path: x.file, Format: DiskQcow2}) }, `7 "d" "FILE" 1 false`},
	{"krun_add_vsock_port2", func(c *Context, x things) error { return c.AddVsockPort2(1, x.dir+"/s", true) }, `7 1 "DIR/s" true`},
	{"krun_set_kernel", func(c *Context, x things) error {
		return c.SetKernel(Kernel{Path: x.file, Format: KernelELF, CmdLine: "quiet"})
	}, `7 "FILE" 1 NULL "quiet"`},
	{"krun_setuid", func(c *Context, x things) error { return c.SetUID(1000) }, `7 1000`},
	{"krun_setgid", func(c *Context, x things) error { return c.SetGID(1001) }, `7 1001`},
	{"krun_set_nested_virt", func(c *Context, x things) error { return c.SetNestedVirt(true) }, `7 true`},
	{"krun_check_nested_virt", func(c *Context, x things) error {
		ok, err := c.lib.CheckNestedVirt()
		return expect(ok, true, err)
	}, ``},
	{"krun_split_irqchip", func(c *Context, x things) error { return c.SplitIRQChip(true) }, `7 true`},
	{"krun_init_log", func(c *Context, x things) error {
		return c.lib.InitLog(Log{File: x.out, Level: LogWarn, Style: LogStyleNever, NoEnv: true})
	}, `FD 2 2 1`},
	{"krun_add_net_unixstream", func(c *Context, x things) error {
		return c.AddNetUnixStream(Net{File: x.out, MAC: [6]byte{2}, Features: NetCSUM, Flags: NetDHCPClient})
	}, `7 NULL FD 02:00:00:00:00:00 1 2`},
	{"krun_add_net_unixgram", func(c *Context, x things) error {
		return c.AddNetUnixGram(Net{Path: x.socket, MAC: [6]byte{2}, Features: NetHostUFO, Flags: NetVfkit})
	}, `7 "SOCKET" -1 02:00:00:00:00:00 16384 1`},
	{"krun_add_net_tap", func(c *Context, x things) error { return c.AddNetTap(Tap{Name: "tap0", MAC: [6]byte{2}}) }, `7 "tap0" 02:00:00:00:00:00 0 0`},
	{"krun_set_firmware", func(c *Context, x things) error { return c.SetFirmware(x.file) }, `7 "FILE"`},
	{"krun_get_max_vcpus", func(c *Context, x things) error {
		n, err := c.lib.MaxVCPUs()
		return expect(n, 16, err)
	}, ``},
	{"krun_disable_implicit_console", func(c *Context, x things) error { return c.DisableImplicitConsole() }, `7`},
	{"krun_set_kernel_console", func(c *Context, x things) error { return c.SetKernelConsole("ttyS0") }, `7 "ttyS0"`},
	{"krun_add_virtio_console_default", func(c *Context, x things) error { return c.AddVirtioConsoleDefault(x.tty, x.out, nil) }, `7 TTY FD -1`},
	{"krun_add_serial_console_default", func(c *Context, x things) error { return c.AddSerialConsoleDefault(nil, x.out) }, `7 -1 FD`},
	{"krun_add_disk3", func(c *Context, x things) error {
		return c.AddDisk3(Disk{ID: "d", Path: x.file, Format: DiskVMDK, DirectIO: true})
	}, `7 "d" "FILE" 2 false true 2`},
	{"krun_disable_implicit_vsock", func(c *Context, x things) error { return c.DisableImplicitVsock() }, `7`},
	{"krun_add_vsock", func(c *Context, x things) error { return c.AddVsock(TSIUnix) }, `7 2`},
	{"krun_add_virtio_console_multiport", func(c *Context, x things) error {
		_, err := c.AddVirtioConsoleMultiport()
		return err
	}, `7`},
	{"krun_add_console_port_tty", func(c *Context, x things) error { return (&Console{vm: c, id: 3}).AddTTY("", x.tty) }, `7 3 "" TTY`},
	{"krun_add_console_port_inout", func(c *Context, x things) error { return (&Console{vm: c, id: 3}).AddInOut("p", nil, x.out) }, `7 3 "p" -1 FD`},
	{"krun_has_feature", func(c *Context, x things) error {
		ok, err := c.lib.HasFeature(FeatureBlk)
		return expect(ok, true, err)
	}, `1`},
	{"krun_add_virtiofs3", func(c *Context, x things) error { return c.AddVirtioFS3("t3", x.dir, 0, true) }, `7 "t3" "DIR" 0 true`},
	{"krun_fs_add_overlay_dir", func(c *Context, x things) error { return c.FSAddOverlayDir("t3", "etc", 0o755) }, `7 "t3" "etc" 493`},
	{"krun_fs_add_overlay_file", func(c *Context, x things) error {
		return c.FSAddOverlayFile(OverlayFile{Tag: "t3", Path: "etc/h", Data: []byte("host"), Mode: 0o644, OneShot: true})
	}, `7 "t3" "etc/h" 4:host 420 true`},
	{"krun_disable_implicit_init", func(c *Context, x things) error { return c.DisableImplicitInit() }, `7`},
	{"krun_get_default_init", func(c *Context, x things) error {
		data, err := c.lib.DefaultInit()
		return expect(string(data), "contract init", err)
	}, ``},
	{"krun_set_root_disk_remount", nil, ""}, // TestRootDiskRemount
	{"krun_set_log_level", nil, ""},         // TestLogStartsOnce
	{"krun_create_ctx", nil, ""},            // TestContext
	{"krun_free_ctx", nil, ""},              // TestContext
	{"krun_start_enter", nil, ""},           // TestStartEnter
}

func expect[T comparable](got, want T, err error) error {
	if err == nil && got != want {
		return fmt.Errorf("got %v, want %v", got, want)
	}
	return err
}

// independent are calls that must not share a context with the others.
var independent = map[string]bool{
	"krun_set_root_disk": true, "krun_set_data_disk": true, "krun_disable_implicit_init": true,
	"krun_set_passt_fd": true, "krun_set_gvproxy_path": true, "krun_set_kernel_console": true,
}
