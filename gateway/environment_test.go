package gateway

import (
	"slices"
	"testing"

	vmdriver "openshell-vm/drivers/vm"
	"openshell-vm/drivers/vm/hypervisor/all"
	"openshell-vm/gateway/api"
)

// TestVariablesAreAllTold: status and the CLI know every variable that the vm driver reads.
func TestVariablesAreAllTold(t *testing.T) {
	var read []string
	_, err := vmdriver.Config{}.WithEnvironment(func(name string) string {
		read = append(read, name)
		return ""
	})
	if err != nil {
		t.Fatal(err)
	}
	told := slices.Sorted(slices.Values(api.VMVariables))
	slices.Sort(read)
	if !slices.Equal(read, told) {
		t.Errorf("read: %v\ntold: %v", read, told)
	}
}

// TestHypervisorsAreAllTold: users can ask for every hypervisor that the vm driver knows.
func TestHypervisorsAreAllTold(t *testing.T) {
	known, err := all.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"auto"}
	for _, h := range known {
		names = append(names, h.Name())
	}
	if !slices.Equal(names, api.Hypervisors) {
		t.Errorf("known: %v\ntold: %v", names, api.Hypervisors)
	}
}

func TestStale(t *testing.T) {
	there := &api.Environment{Groups: []int{0}, Variables: []api.Fact{{Name: "CONTAINER_HOST", Value: "unix:///a"}, {Name: "OPENSHELL_ACCEL", Value: "tcg"}}}
	here := &api.Environment{Groups: []int{0, 1 << 30}, Variables: []api.Fact{{Name: "OPENSHELL_ACCEL", Value: "tcg"}}}
	for _, c := range []struct {
		status api.Status
		want   []string
	}{
		{api.Status{Version: "v2"}, nil},
		{api.Status{Version: "v1"}, []string{"it is of version v1, this is v2"}},
		{api.Status{Version: "v2", Environment: here}, nil},
		{api.Status{Version: "v2", Environment: there}, []string{"CONTAINER_HOST is unset here, and unix:///a there"}},
	} {
		if got := c.status.Stale("v2", here); !slices.Equal(got, c.want) {
			t.Errorf("%+v: %q", c.status, got)
		}
	}
}
