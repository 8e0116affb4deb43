package vm

import (
	"context"
	"os"
	"path/filepath"

	"openshell-vm/drivers/vm/kvm"
)

// kvmWorks says whether KVM runs guests here for a hypervisor. The answer is
// remembered until the next boot of the host, where there is a cache.
func (d *Driver) kvmWorks(ctx context.Context, hypervisor string) kvm.Result {
	cache := filepath.Join(d.cfg.CacheDir, cacheKVM)
	if err := os.MkdirAll(d.cfg.CacheDir, 0o700); err != nil {
		cache = ""
	}
	return kvm.Prober{Self: d.libexec(monitorProgram), Cache: cache, Hypervisor: hypervisor}.Probe(ctx)
}
