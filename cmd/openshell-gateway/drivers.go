package main

import (
	"log/slog"
	"os"
	"path/filepath"

	"openshell-vm/drivers"
	"openshell-vm/drivers/docker"
	"openshell-vm/drivers/podman"
	"openshell-vm/drivers/vm"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/state"
)

// newDrivers returns the drivers, in the order in which auto prefers them. A driver looks
// for its engine only when it is used.
func newDrivers(home *state.Home, log *slog.Logger) ([]drivers.Driver, error) {
	forVM, err := vm.Config{
		GatewayID: home.ID, SandboxesDir: home.Sandboxes(), RuntimeDir: home.Runtime,
		CacheDir: home.Cache(), Libexec: libexec(), Log: log.With("driver", "vm"),
	}.WithEnvironment(os.Getenv)
	if err != nil {
		return nil, err
	}
	return []drivers.Driver{
		vm.New(forVM),
		podman.New(podman.Config{GatewayID: home.ID}),
		docker.New(docker.Config{GatewayID: home.ID, Shares: home.Shares}),
	}, nil
}

// libexec returns the directory with the monitor and its companions. If they are missing,
// the vm driver's probe says so.
func libexec() string {
	if monitor, err := api.Sibling("openshell-vmm"); err == nil {
		return filepath.Dir(monitor)
	}
	self, err := os.Executable()
	if err != nil {
		return "/usr/libexec/openshell-vm"
	}
	return filepath.Dir(self)
}
