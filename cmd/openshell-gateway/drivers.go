package main

import (
	"log/slog"

	"openshell-vm/drivers"
	"openshell-vm/gateway"
)

// newDrivers are the engines, in the order in which auto prefers them.
func newDrivers(home *gateway.Home, log *slog.Logger) []drivers.Driver {
	return nil
}
