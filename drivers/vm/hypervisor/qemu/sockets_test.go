package qemu

import (
	"os"
	"testing"

	"openshell-vm/drivers/vm/hypervisor"
)

func TestConnectedPairHasNoName(t *testing.T) {
	dir := t.TempDir()
	listening, connected, err := connectedPair(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer hypervisor.CloseAll(listening, connected)
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
