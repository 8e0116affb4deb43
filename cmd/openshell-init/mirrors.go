package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"openshell-vm/cmd/openshell-init/mirror"
	"openshell-vm/drivers/vm/guest"
	"openshell-vm/internal/contract"
)

// mirrorsSize bounds the guest's memory for mirrors: twice what a share may hold, as the next
// generation is copied before the last one goes, and some pages that are not full.
const mirrorsSize = "size=20m,nr_inodes=8192"

// mountMirrors makes the directory of the mirrors, as a read-only mount that is attached nowhere
// yet. It returns -1 if the spec wants none.
func mountMirrors(spec guest.BootSpec) (tree int, err error) {
	if spec.MirrorDir == "" {
		return -1, nil
	}
	if err := os.MkdirAll(mirrorsAt, 0o700); err != nil {
		return -1, err
	}
	if err := unix.Mount("tmpfs", mirrorsAt, "tmpfs", plain|unix.MS_NOATIME, "mode=0755,"+mirrorsSize); err != nil {
		return -1, fmt.Errorf("mount the memory for the share's mirror: %w", err)
	}
	if err := os.Mkdir(filepath.Join(mirrorsAt, contract.MirrorName), 0o755); err != nil {
		return -1, err
	}
	return cloneTree(mirrorsAt, unix.MOUNT_ATTR_NOEXEC)
}

// attachMirrors shows the mirrors in the sandbox. It runs on the sandbox's thread. Who may not read
// the share may not read its mirror: both lie in the same directory.
func attachMirrors(spec guest.BootSpec, tree int) error {
	if tree < 0 {
		return nil
	}
	defer unix.Close(tree)
	return attach(tree, spec.MirrorDir)
}

// startMirror begins to mirror the share, and has copied it when it returns. Without a mirror in
// the spec it returns nil.
func startMirror(ctx context.Context, where layout, spec guest.BootSpec, h *host) (*mirror.Mirror, error) {
	if spec.MirrorDir == "" {
		return nil, nil
	}
	share, dir := filepath.Join(where.shares, guest.AuthName), filepath.Join(mirrorsAt, contract.MirrorName)
	m, err := mirror.New(share, dir, spec.AuthDir, func(problem string) {
		h.send(guest.Message{Mirror: &guest.Mirror{Problem: problem}})
	})
	if err != nil {
		return nil, err
	}
	m.Look()
	go m.Run(ctx)
	return m, nil
}
