package krun

import (
	"testing"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/hypervisor"
)

// TestRoomForARoot checks that a root that would fill the guest's memory is refused, with a hint.
func TestRoomForARoot(t *testing.T) {
	m, tools := hypervisor.Machine{Memory: 128 << 20}, &Tools{}
	if err := tools.RoomFor(m, 50_000); err != nil {
		t.Error(err)
	}
	err := tools.RoomFor(m, 60_000)
	const says = "the root has 60000 files, for which a guest of krun needs 74 MiB of its 128 MiB of memory"
	const hint = "give it --memory 149m, or --hypervisor qemu, which needs none for them"
	if err == nil || err.Error() != says || drivers.HintOf(err) != hint {
		t.Errorf("%v (%s)", err, drivers.HintOf(err))
	}
	m.Memory = 149 << 20
	if err := tools.RoomFor(m, 60_000); err != nil {
		t.Errorf("with what the hint says: %v", err)
	}
}
