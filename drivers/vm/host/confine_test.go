package host

import (
	"testing"

	"openshell-vm/drivers/driverstest"
	"openshell-vm/drivers/vm/jail"
)

func TestAJailThatIsRequired(t *testing.T) {
	h := New(Config{Libexec: t.TempDir()})
	h.confinement.report = &jail.Report{Missing: []jail.Gap{{Name: "Landlock", Why: "the kernel has none"}}}
	if err := h.CheckJail(false); err != nil {
		t.Errorf("a weaker jail is refused though none is required: %v", err)
	}
	driverstest.Refused(t, h.CheckJail(true), "this host can't give Landlock (the kernel has none)")
	h.RequireJail = true
	driverstest.Refused(t, h.CheckJail(false), "this host can't give Landlock (the kernel has none)")
	h.confinement.report = nil // and then no monitor can be started to try
	if err := h.CheckJail(false); err == nil {
		t.Error("no jail at all is taken for one")
	}
}
