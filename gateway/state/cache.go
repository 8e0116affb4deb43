package state

import (
	"os"
	"path/filepath"
)

// Cache returns the directory for what can be made again: images of VMs, a guest's initramfs.
// All of this user's gateways have the same. Every later VM runs what lies there, so no
// sandbox may write to it, and images may be private, so none may read it either: it is
// among Hidden.
func (p Places) Cache() string {
	if os.Geteuid() == 0 {
		return "/var/cache/openshell-vm"
	}
	if dir, err := os.UserCacheDir(); err == nil {
		return filepath.Join(dir, "openshell-vm")
	}
	return p.State + "-cache"
}

// makeCache makes the directory, so that it is hidden before anything lies in it: a sandbox
// that may write to its parent could make one otherwise. Who uses it says what is wrong.
func (h *Home) makeCache() { _ = PrivateDir(h.Cache()) }
