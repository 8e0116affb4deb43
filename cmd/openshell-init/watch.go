package main

import (
	"context"
	"time"

	"openshell-vm/cmd/openshell-init/forget"
	"openshell-vm/cmd/openshell-init/watching"
	"openshell-vm/drivers/vm/guest"
)

// startWatch starts to follow this VM's shares and to report to the host. It also starts
// to bound the names that the kernel remembers.
func startWatch(ctx context.Context, where layout, spec guest.BootSpec, h *host) error {
	count := forget.Rarely
	if where.CachesNames {
		count = forget.Often
	}
	go forget.Bound(ctx, spec.Names, count)
	mirror, err := startMirror(ctx, where, spec, h)
	if err != nil {
		return err
	}
	names := []string{guest.AuthName}
	for _, s := range spec.Shares {
		names = append(names, s.Name)
	}
	return watching.Start(ctx, where.shares, names, where.CachesNames, func(name string, n uint64) {
		if name == guest.AuthName {
			mirror.Look()
			h.send(guest.Message{Seen: &guest.Seen{Generation: n, UnixNano: time.Now().UnixNano()}})
			return
		}
		h.send(guest.Message{SeenShare: &guest.SeenShare{Name: name, Generation: n}})
	})
}
