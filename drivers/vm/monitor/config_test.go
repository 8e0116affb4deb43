package monitor

import (
	"encoding/json"
	"testing"

	"openshell-vm/drivers/vm/hypervisor"
)

// TestToolsTravel checks that the configuration stores a hypervisor's tools under its
// name, and that no other field has that name.
func TestToolsTravel(t *testing.T) {
	c := Config{ID: "abc", Dir: t.TempDir(), Hypervisor: "some", Machine: hypervisor.Machine{CPUs: 3}, Tools: json.RawMessage(`{"a":1}`)}
	if err := c.Write(); err != nil {
		t.Fatal(err)
	}
	got, err := ReadConfig(c.Dir)
	if err != nil || got.Hypervisor != "some" || got.CPUs != 3 {
		t.Fatalf("%+v, %v", got, err)
	}
	var tools struct{ A int }
	if err := json.Unmarshal(got.Tools, &tools); err != nil || tools.A != 1 {
		t.Errorf("%s, %v", got.Tools, err)
	}
	c.Hypervisor = "rootfs"
	if err := c.Write(); err == nil {
		t.Error("a hypervisor's tools take the root's place")
	}
}
