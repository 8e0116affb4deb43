package monitor

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/guest"
)

// TestAGuestsExitCodeIsOne has guests report codes that no process can exit with. The
// CLI would turn 256 into 0, a success.
func TestAGuestsExitCodeIsOne(t *testing.T) {
	for code, why := range map[int]string{
		99999999999: "the guest told an exit code that is none: 99999999999",
		256:         "the guest told an exit code that is none: 256",
		-1:          "the guest told an exit code that is none: -1",
	} {
		cfg, ready, end := startMonitor(t, nil, func(g *fakeGuest) {
			g.boot()
			g.exit(code, "fine")
		})
		wantRunning(t, ready)
		await(t, end)
		wantExit(t, cfg, Exit{State: drivers.Dead, Reason: why})
	}
}

// TestAnOlderMonitorsExitIsChecked reads an exit whose code its monitor did not check.
func TestAnOlderMonitorsExitIsChecked(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ExitFile), []byte(`{"state": "exited", "exitCode": 99999999999}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if e, err := ReadExit(dir); e.State != drivers.Dead || e.ExitCode != 0 || e.Reason == "" || err != nil {
		t.Errorf("%+v, %v", e, err)
	}
}

// TestAGuestSeesNoFuture has a guest report a generation that was not published yet.
func TestAGuestSeesNoFuture(t *testing.T) {
	cfg, ready, end := startMonitor(t, nil, func(g *fakeGuest) {
		g.boot()
		for _, n := range []uint64{41, math.MaxUint64, 43} {
			g.send(guest.Message{Seen: &guest.Seen{Generation: n}})
		}
		g.exit(0, "")
	})
	wantRunning(t, ready)
	await(t, end)
	if e := wantExit(t, cfg, Exit{State: drivers.Exited}); e.SeenGeneration != 41 {
		t.Errorf("seen: %d", e.SeenGeneration)
	}
}
