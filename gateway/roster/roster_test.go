package roster

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/lease"
	"openshell-vm/gateway/state"
)

func TestNames(t *testing.T) {
	taken := map[string]bool{}
	for range 3000 { // more than there are pairs for: numbers help
		name := newName(func(n string) bool { return taken[n] })
		if taken[name] || state.CheckName(name) != nil {
			t.Fatalf("made up %q", name)
		}
		taken[name] = true
	}
}

// owner is an Owner without behaviour.
type owner struct{}

func (owner) Kind() string                    { return api.KindSandbox }
func (owner) Phase(*state.Record) lease.Phase { return lease.Idle }
func (owner) Doing() string                   { return "" }
func (owner) Mounted() error                  { return nil }
func (owner) Restore() func()                 { return nil }
func (owner) Delivered()                      {}
func (owner) AfterRestart() time.Duration     { return 0 }

// TestRefs finds sandboxes by name, id and unique prefix.
func TestRefs(t *testing.T) {
	dir := t.TempDir()
	r := New(&state.Home{Places: state.Places{State: dir, Shares: dir}}, lease.Options{}, func() {})
	for i, id := range []string{"aaaaaaaaaaaa", "aaaabbbbbbbb", "cccccccccccc"} {
		it, err := r.NewItem(&state.Record{ID: id, Name: fmt.Sprint("n", i), Share: filepath.Join(dir, id)}, owner{})
		if err == nil {
			err = r.Add(it)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for ref, want := range map[string]string{"n0": "aaaaaaaaaaaa", "aaaaa": "aaaaaaaaaaaa", "c": "cccccccccccc", "aaaabbbbbbbb": "aaaabbbbbbbb", "aaaa": "", "": "", "x": ""} {
		got := ""
		if it, err := r.Find(ref); err == nil {
			got = it.ID
		}
		if got != want {
			t.Errorf("%q finds %q, wanted %q", ref, got, want)
		}
	}
}
