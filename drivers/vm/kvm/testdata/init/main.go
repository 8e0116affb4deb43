// Init of the machine in which the probe is tested: it loads the modules, probes
// and powers off.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers/vm/kvm"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == "probe-kvm" {
		kvm.Main()
	}
	if err := run(); err != nil {
		fmt.Println("FAILED", err)
	}
	unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func run() error {
	for _, fs := range [][2]string{{"devtmpfs", "/dev"}, {"proc", "/proc"}} {
		if err := unix.Mount(fs[0], fs[1], fs[0], 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", fs[1], err)
		}
	}
	modules, err := filepath.Glob("/modules/*")
	if err != nil {
		return err
	}
	for _, name := range modules {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil {
			return fmt.Errorf("load %s: %w", name, err)
		}
	}
	answer, err := json.Marshal(kvm.Prober{Self: "/init", Hypervisor: "qemu"}.Probe(context.Background()))
	fmt.Printf("PROBE %s\n", answer)
	return err
}
