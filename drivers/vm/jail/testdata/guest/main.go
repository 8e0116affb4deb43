// Command guest is the init of a guest that looks at its share, tries to write to it, and
// powers off. It plays a hostile guest: its mount is read-write.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers/vm/guest"
)

const share = "/mnt"

func main() {
	if err := run(); err != nil {
		fmt.Println("GUEST FAILED", err)
	}
	fmt.Println("GUEST END")
	unix.Sync()
	unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	time.Sleep(time.Minute)
}

func run() error {
	if err := unix.Mount("devtmpfs", "/dev", "devtmpfs", 0, ""); err != nil {
		return err
	}
	console, err := os.OpenFile("/dev/console", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	os.Stdout = console
	modules, err := filepath.Glob(guest.ModulesDir + "/*")
	if err != nil {
		return err
	}
	for _, name := range modules {
		if err := load(name); err != nil {
			return fmt.Errorf("load %s: %w", name, err)
		}
	}
	if err := os.MkdirAll(share, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(guest.TagShares, share, "virtiofs", 0, ""); err != nil {
		return fmt.Errorf("mount the share: %w", err)
	}
	content, err := os.ReadFile(share + "/file")
	fmt.Printf("GUEST READ %q %v\n", content, err)
	_, err = os.ReadFile(share + "/hidden/secret")
	fmt.Println("GUEST HIDDEN", err)
	for _, try := range []struct {
		name string
		do   func() error
	}{
		{"create", func() error { return os.WriteFile(share+"/new", nil, 0o644) }},
		{"write", func() error { _, err := os.OpenFile(share+"/file", os.O_WRONLY, 0); return err }},
		{"truncate", func() error { return os.Truncate(share+"/file", 0) }},
		{"unlink", func() error { return os.Remove(share + "/file") }},
		{"mkdir", func() error { return os.Mkdir(share+"/dir", 0o755) }},
		{"chmod", func() error { return os.Chmod(share+"/file", 0o777) }},
		{"mknod", func() error { return unix.Mknod(share+"/dev", unix.S_IFCHR|0o666, 0x103) }},
		{"rename", func() error { return os.Rename(share+"/file", share+"/other") }},
	} {
		fmt.Printf("GUEST TRY %s: %v\n", try.name, try.do())
	}
	return nil
}

func load(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.FinitModule(int(f.Fd()), "", 0)
	if err == unix.EEXIST {
		return nil
	}
	return err
}
