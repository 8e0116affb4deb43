package vm

import (
	"context"
	"os"
	"path/filepath"

	"openshell-vm/drivers/vm/kvm"
)

// kvmWorks says whether KVM runs guests here for a hypervisor. The answer is
// remembered until the next boot of the host.
func (d *Driver) kvmWorks(ctx context.Context, hypervisor string) kvm.Result {
	if err := os.MkdirAll(d.cfg.CacheDir, 0o700); err != nil {
		return kvm.Result{Reason: err.Error()}
	}
	return kvm.Prober{
		Self: d.libexec(monitorProgram), Cache: filepath.Join(d.cfg.CacheDir, cacheKVM), Hypervisor: hypervisor,
	}.Probe(ctx)
}
