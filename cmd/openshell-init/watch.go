package main

import (
	"context"
	"path/filepath"
	"time"

	"openshell-vm/cmd/openshell-init/forget"
	"openshell-vm/cmd/openshell-init/watching"
	"openshell-vm/drivers/vm/guest"
)

// startWatch starts to follow this VM's share and to report to the host. It also starts
// to bound the names that the kernel remembers.
func startWatch(ctx context.Context, where layout, spec guest.BootSpec, h *host) error {
	count := forget.Rarely
	if where.CachesNames {
		count = forget.Often
	}
	go forget.Bound(ctx, spec.Names, count)
	return watching.Start(ctx, filepath.Join(where.shares, guest.AuthName), where.CachesNames, func(n uint64) {
		h.send(guest.Message{Seen: &guest.Seen{Generation: n, UnixNano: time.Now().UnixNano()}})
	})
}
