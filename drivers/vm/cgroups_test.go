package vm

import (
	"testing"

	"openshell-vm/drivers/vm/monitor"
)

func TestMemoryLimit(t *testing.T) {
	const mib = 1 << 20
	for name, c := range map[string]struct {
		guest int64
		names uint64
		want  int64
	}{
		"few names":           {512 * mib, 1024, (512 + 16 + 256 + 2) * mib},
		"more than it can":    {128 * mib, 1 << 40, (128 + 4 + 256 + 256) * mib},
		"as many as it can":   {128 * mib, 128 << 10, (128 + 4 + 256 + 256) * mib},
		"limit is not known":  {128 * mib, 0, (128 + 4 + 256) * mib},
		"a large one's share": {64 << 30, 0, (64<<10 + 2<<10 + 256) * mib},
	} {
		if got := memoryLimit(c.guest, c.names); got != c.want {
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
