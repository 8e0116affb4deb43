package vm

import (
	"fmt"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/initramfs"
	"openshell-vm/drivers/vm/qemu"
)

// Environment variables that WithEnvironment reads, beside initramfs.KernelEnv.
const (
	QEMUEnv         = "OPENSHELL_QEMU"          // Config.QEMU
	VirtiofsdEnv    = "OPENSHELL_VIRTIOFSD"     // Config.Virtiofsd
	BusyBoxEnv      = "OPENSHELL_BUSYBOX"       // Config.BusyBox
	LibkrunEnv      = "OPENSHELL_LIBKRUN"       // Config.Libkrun
	LibkrunfwEnv    = "OPENSHELL_LIBKRUNFW"     // Config.Libkrunfw
	AccelEnv        = "OPENSHELL_ACCEL"         // Config.Accel: kvm or tcg
	BootDeadlineEnv = "OPENSHELL_BOOT_DEADLINE" // Config.BootDeadline, as 45s
	RequireJailEnv  = "OPENSHELL_REQUIRE_JAIL"  // Config.RequireJail: 1
)

// WithEnvironment fills in what the user chose by environment variables, which
// getenv looks up: os.Getenv in a program.
func (c Config) WithEnvironment(getenv func(string) string) (Config, error) {
	c.Kernel = getenv(initramfs.KernelEnv)
	c.QEMU, c.Virtiofsd, c.BusyBox = getenv(QEMUEnv), getenv(VirtiofsdEnv), getenv(BusyBoxEnv)
	c.Libkrun, c.Libkrunfw = getenv(LibkrunEnv), getenv(LibkrunfwEnv)
	c.RequireJail = c.RequireJail || getenv(RequireJailEnv) == "1"
	switch accel := qemu.Accel(getenv(AccelEnv)); accel {
	case "", qemu.KVM, qemu.TCG:
		c.Accel = accel
	default:
		return c, badEnvironment(AccelEnv, string(accel), "use kvm or tcg")
	}
	if text := getenv(BootDeadlineEnv); text != "" {
		limit, err := time.ParseDuration(text)
		if err != nil || limit <= 0 {
			return c, badEnvironment(BootDeadlineEnv, text, "use a time such as 45s")
		}
		c.BootDeadline = limit
	}
	return c, nil
}

func badEnvironment(name, value, hint string) error {
	return &drivers.Error{Op: "read " + name, Err: fmt.Errorf("%q is not understood", value), Hint: hint}
}
