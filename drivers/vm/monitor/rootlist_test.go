package monitor

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/guest"
	"openshell-vm/drivers/vm/hypervisor"
	"openshell-vm/drivers/vm/monitor/programs"
	"openshell-vm/drivers/vm/rootlist"
)

// lister returns a monitor that is about to start its VM. The root has three entries.
func lister(t *testing.T) (m *monitor, list string) {
	t.Helper()
	m = &monitor{
		cfg: Config{
			Machine: hypervisor.Machine{Boot: t.TempDir(), Rootfs: drivers.Tree{Source: t.TempDir()}}, BootDeadline: time.Minute,
		},
		began: time.Now(), log: slog.New(slog.NewTextHandler(io.Discard, nil)), stop: make(chan time.Duration, 1), group: &programs.Group{},
	}
	if err := os.MkdirAll(filepath.Join(m.cfg.Rootfs.Source, "etc/openshell"), 0o755); err != nil {
		t.Fatal(err)
	}
	return m, filepath.Join(m.cfg.Boot, guest.RootListFile)
}

// TestListRoot checks that the list is made anew at each boot.
func TestListRoot(t *testing.T) {
	m, list := lister(t)
	if err := os.WriteFile(list, []byte("of the last boot"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := m.listRoot(roomy); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(list)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	entries := uint64(0)
	if err := rootlist.Read(f, func(n uint64) { entries = n }, func(rootlist.Entry) error { return nil }); err != nil || entries != 3 {
		t.Errorf("%d entries, %v", entries, err)
	}
	if err := errors.Join(m.unlistRoot(), m.unlistRoot()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(list); err == nil {
		t.Error("it is left")
	}
}

// TestListRootEnds checks that a stop ends the listing, and so does the end of the time
// for a boot. A boot does not fail for want of a list: the guest walks the root itself.
func TestListRootEnds(t *testing.T) {
	m, _ := lister(t)
	m.stop <- 0
	if err := m.listRoot(roomy); !errors.Is(err, errStopped) {
		t.Errorf("stopped: %v", err)
	}
	m, _ = lister(t)
	m.began = time.Now().Add(-time.Hour)
	if err := m.listRoot(roomy); !errors.As(err, new(*refusal)) {
		t.Errorf("out of time: %v", err)
	}
	m, list := lister(t)
	if err := os.Remove(m.cfg.Boot); err != nil {
		t.Fatal(err)
	}
	if err := m.listRoot(roomy); err != nil {
		t.Errorf("no directory for it: %v", err)
	}
	if _, err := os.Stat(list); err == nil {
		t.Error("there is one")
	}
}

// roomFor is a hypervisor with room for this number of files.
type roomFor uint64

const roomy roomFor = 1 << 20

func (n roomFor) RoomFor(_ hypervisor.Machine, files uint64) error {
	if files > uint64(n) {
		return errors.New("too many")
	}
	return nil
}

// TestNoRoomForARoot checks that a boot is not tried again after the hypervisor refused
// the root.
func TestNoRoomForARoot(t *testing.T) {
	m, _ := lister(t)
	if err := m.listRoot(roomFor(2)); !errors.As(err, new(*refusal)) || err.Error() != "too many" {
		t.Error(err)
	}
}
