// Command openshell-vmm is the process beside one VM. The vm driver starts it; people don't.
//
//	openshell-vmm monitor DIR    be the monitor of the sandbox whose state directory is DIR;
//	                             descriptor 3 takes the report, 4 is the locked lock file
//	openshell-vmm jail N M       become a program in a jail (package jail)
//	openshell-vmm probe-kvm      try KVM (package kvm)
//	openshell-vmm version
package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"openshell-vm/drivers/vm/hypervisor/all"
	"openshell-vm/drivers/vm/jail"
	"openshell-vm/drivers/vm/kvm"
	"openshell-vm/drivers/vm/monitor"
)

var version = "dev"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "openshell-vmm:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) > 0 && args[0] == "jail":
		jail.Main(args[1:])
	case len(args) == 1 && args[0] == "probe-kvm":
		kvm.Main()
	case len(args) == 2 && args[0] == "monitor":
		return beMonitor(args[1])
	case len(args) == 1 && args[0] == "version":
		fmt.Println(version)
		return nil
	}
	return errors.New("usage: openshell-vmm monitor DIR (the vm driver runs it)")
}

func beMonitor(dir string) error {
	for fd := 3; fd <= 4; fd++ {
		syscall.CloseOnExec(fd) // the monitor's own children must not inherit them
	}
	ready, lock := os.NewFile(3, "report"), os.NewFile(4, "lock")
	cfg, err := monitor.ReadConfig(dir)
	if err != nil {
		return err
	}
	return monitor.Run(cfg, all.Read, lock, ready, monitor.NewLogger(dir))
}
