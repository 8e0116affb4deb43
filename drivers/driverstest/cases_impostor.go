package driverstest

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"openshell-vm/drivers"
)

// impostors: labels make no stranger's container a sandbox, whether they are its own or
// its image's. Once the sandbox itself was known, its name does not either.
func impostors(t *testing.T, s *suite) string {
	if s.Impostor == nil {
		return notApplicable + "no engine of others runs its sandboxes"
	}
	b, removed := s.box(t, nil), s.box(t, nil)
	b.run(false).expect("ready")
	status := b.inspect()
	if status.Object == "" {
		t.Error("the engine's own id is not told")
	}
	stranger := *b
	stranger.id = newID()
	stranger.spec.ID = stranger.id
	s.Impostor(t, "", b.labels(), true)
	s.Impostor(t, "", b.labels(), false)
	s.Impostor(t, "openshell-"+stranger.id, stranger.labels(), true)
	s.RemoveBehind(t, removed.id)
	s.Impostor(t, "openshell-"+removed.id, removed.labels(), false)
	for who, d := range map[string]drivers.Driver{"this gateway": s.driver, "one without records": s.New(s.gateway)} {
		t.Run(who, func(t *testing.T) { notTakenIn(t, d, status, removed.id, stranger.id) })
	}
	err := s.driver.Create(t.Context(), removed.spec)
	if errors.Is(err, drivers.ErrExists) {
		t.Error("the impostor in the way is taken for the sandbox")
	}
	Refused(t, err, "openshell-vm did not make")
	if got := b.inspect(); got.State != drivers.Running || got.Object != status.Object {
		t.Errorf("the sandbox is %s", got.State)
	}
	return "by the image's labels, its own, with the name of one that is lost"
}

// labels are those of the sandbox's container, to be forged.
func (b *box) labels() map[string]string {
	b.t.Helper()
	spec, err := json.Marshal(b.spec)
	if err != nil {
		b.t.Fatal(err)
	}
	return map[string]string{drivers.LabelGatewayID: b.s.gateway, drivers.LabelSandboxID: b.id,
		drivers.LabelName: b.spec.Name, drivers.LabelSpec: string(spec)}
}

// notTakenIn wants d to list the sandbox once, and to have no impostor.
func notTakenIn(t *testing.T, d drivers.Driver, sandbox drivers.Status, impostors ...string) {
	list, err := d.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, l := range list {
		if l.ID == sandbox.ID {
			seen++
			if l.Object != sandbox.Object || l.State != drivers.Running {
				t.Errorf("%s is listed as %s %s, it is %s", l.ID, l.State, l.Object, sandbox.Object)
			}
		}
		if slices.Contains(impostors, l.ID) {
			t.Errorf("an impostor is taken for %s, %s", l.ID, l.State)
		}
	}
	if seen != 1 {
		t.Errorf("%d containers are listed for one sandbox", seen)
	}
	for _, id := range impostors {
		if err := d.Stop(t.Context(), id, 0); !errors.Is(err, drivers.ErrNotFound) {
			t.Errorf("an impostor is stopped: %v", err)
		}
		if err := d.Remove(t.Context(), id); err != nil {
			t.Errorf("remove of what is not there: %v", err)
		}
	}
}
