package vm

import (
	"testing"

	"openshell-vm/drivers/vm/monitor"
	"openshell-vm/drivers/vm/qemu"
)

func TestMemoryLimit(t *testing.T) {
	const mib = 1 << 20
	for name, c := range map[string]struct {
		guest int64
		names uint64
		accel qemu.Accel
		want  int64
	}{
		"few names":           {512 * mib, 1024, qemu.KVM, (512 + 16 + 256 + 2) * mib},
		"translated":          {512 * mib, 1024, qemu.TCG, (512 + 16 + 256 + 2 + 1024) * mib},
		"krun":                {512 * mib, 1024, "", (512 + 16 + 256 + 2) * mib},
		"more than it can":    {128 * mib, 1 << 40, qemu.KVM, (128 + 4 + 256 + 256) * mib},
		"as many as it can":   {128 * mib, 128 << 10, qemu.KVM, (128 + 4 + 256 + 256) * mib},
		"limit is not known":  {128 * mib, 0, qemu.KVM, (128 + 4 + 256) * mib},
		"a large one's share": {64 << 30, 0, qemu.KVM, (64<<10 + 2<<10 + 256) * mib},
	} {
		if got := memoryLimit(c.guest, c.names, c.accel); got != c.want {
			t.Errorf("%s: %d MiB, not %d", name, got/mib, c.want/mib)
		}
	}
}

// Two gateways may have a sandbox of the same id: tests do.
func TestCgroupNamesDiffer(t *testing.T) {
	a, b := cgroupName(&monitor.Config{ID: "x", Dir: "/a/x"}), cgroupName(&monitor.Config{ID: "x", Dir: "/b/x"})
	if a == b {
		t.Errorf("both are %s", a)
	}
}
