package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers/vm/guest"
	"openshell-vm/internal/contract"
	"openshell-vm/internal/fault"
	"openshell-vm/internal/mounts"
)

// sharesOf returns all shares, the sandbox's own first.
func sharesOf(spec guest.BootSpec) []guest.GuestMount {
	return append([]guest.GuestMount{{Name: guest.AuthName, Target: spec.AuthDir}}, spec.Shares...)
}

func checkShares(spec guest.BootSpec) error {
	for i, s := range sharesOf(spec) {
		if err := checkPaths(s); err != nil {
			return err
		}
		switch {
		case s.Writable:
			return fmt.Errorf("the boot spec has the share %s writable", s.Name)
		// mountShares covers this directory, so no share may be above it or in its place.
		case mounts.Within(contract.OwnDir, s.Target):
			return fmt.Errorf("the boot spec puts the share %s at %s, which is needed for others", s.Name, s.Target)
		case spec.MirrorDir != "" && (mounts.Within(s.Target, spec.MirrorDir) || mounts.Within(spec.MirrorDir, s.Target)):
			return fmt.Errorf("the boot spec puts the share %s at %s, and the mirror at %s", s.Name, s.Target, spec.MirrorDir)
		}
		for _, other := range sharesOf(spec)[:i] {
			if mounts.Within(s.Target, other.Target) || mounts.Within(other.Target, s.Target) {
				return fmt.Errorf("the boot spec puts the share %s at %s, and %s at %s", s.Name, s.Target, other.Name, other.Target)
			}
		}
	}
	// Only in that directory a share can be kept from other users.
	if spec.TokenUser != "" && !mounts.Within(spec.AuthDir, contract.OwnDir) {
		return fmt.Errorf("the boot spec puts the share at %s, where it can't be kept for %s", spec.AuthDir, spec.TokenUser)
	}
	return nil
}

// ownMode is the mode of contract.OwnDir.
func ownMode(spec guest.BootSpec) string {
	if spec.TokenUser != "" || spec.Version < 2 {
		return "0700"
	}
	return "0755"
}

// mountShares mounts the shares. It comes after all other mounts, so that none covers one.
// Every user of the sandbox may read them, as in a container. If the spec names a
// TokenUser, only that user and root may enter contract.OwnDir. An older gateway's
// spec names none and means the workload's user.
func mountShares(spec guest.BootSpec, trees []int) error {
	shares := sharesOf(spec)
	if slices.ContainsFunc(shares, func(s guest.GuestMount) bool { return mounts.Within(s.Target, contract.OwnDir) }) {
		if err := mountOwn(spec); err != nil {
			return err
		}
	}
	for i, s := range shares {
		if err := attach(trees[i], s.Target); err != nil {
			return err
		}
	}
	return nil
}

// mountOwn covers contract.OwnDir with a directory of the init's own. It has room for the shares'
// mount points.
func mountOwn(spec guest.BootSpec) error {
	owner := spec.TokenUser
	if owner == "" {
		owner = spec.Process.User
	}
	id, err := lookUpUser(owner)
	if err != nil {
		return &fault.Error{Op: "find the token's owner", Err: err, Hint: "name a user of the rootfs's /etc/passwd, or give a number"}
	}
	if err := os.MkdirAll(contract.OwnDir, 0o755); err != nil {
		return fmt.Errorf("make %s: %w", contract.OwnDir, err)
	}
	inodes := 16
	for _, s := range spec.Shares {
		inodes += strings.Count(s.Target, "/")
	}
	data := fmt.Sprintf("mode=%s,size=64k,nr_inodes=%d,uid=%d,gid=%d", ownMode(spec), inodes, id.Uid, id.Gid)
	if err := unix.Mount("tmpfs", contract.OwnDir, "tmpfs", plain, data); err != nil {
		return fmt.Errorf("mount %s: %w", contract.OwnDir, err)
	}
	return nil
}
