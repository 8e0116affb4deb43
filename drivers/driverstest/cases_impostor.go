package driverstest

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest/fixture"
)

// impostors: labels make no stranger's container a sandbox, whether they are its own or
// its image's. Once the sandbox itself was known, its name does not either.
func impostors(t *testing.T, s *fixture.Suite) string {
	if s.Impostor == nil {
		return fixture.NotApplicable + "no engine of others runs its sandboxes"
	}
	b, removed := s.Box(t, nil), s.Box(t, nil)
	b.Run(false).Expect("ready")
	status := b.Inspect()
	if status.Object == "" {
		t.Error("the engine's own id is not told")
	}
	stranger := *b
	stranger.ID = fixture.NewID()
	stranger.Spec.ID = stranger.ID
	s.Impostor(t, "", labels(b), true)
	s.Impostor(t, "", labels(b), false)
	s.Impostor(t, "openshell-"+stranger.ID, labels(&stranger), true)
	s.RemoveBehind(t, removed.ID)
	s.Impostor(t, "openshell-"+removed.ID, labels(removed), false)
	for who, d := range map[string]drivers.Driver{"this gateway": s.Driver, "one without records": s.New(s.Gateway)} {
		t.Run(who, func(t *testing.T) { notTakenIn(t, d, status, removed.ID, stranger.ID) })
	}
	err := s.Driver.Create(t.Context(), removed.Spec)
	if errors.Is(err, drivers.ErrExists) {
		t.Error("the impostor in the way is taken for the sandbox")
	}
	Refused(t, err, "openshell-vm did not make")
	if got := b.Inspect(); got.State != drivers.Running || got.Object != status.Object {
		t.Errorf("the sandbox is %s", got.State)
	}
	return "by the image's labels, its own, with the name of one that is lost"
}

// labels are those of the sandbox's container, to be forged.
func labels(b *fixture.Box) map[string]string {
	b.T.Helper()
	spec, err := json.Marshal(b.Spec)
	if err != nil {
		b.T.Fatal(err)
	}
	return map[string]string{drivers.LabelGatewayID: b.Suite.Gateway, drivers.LabelSandboxID: b.ID,
		drivers.LabelName: b.Spec.Name, drivers.LabelSpec: string(spec)}
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
