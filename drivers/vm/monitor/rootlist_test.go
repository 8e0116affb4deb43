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
	"openshell-vm/drivers/vm/rootlist"
)

// lister is a monitor that is about to start its VM, with a root of three entries.
func lister(t *testing.T) (m *monitor, list string) {
	t.Helper()
	m = &monitor{
		cfg:   Config{Boot: t.TempDir(), Rootfs: Tree{Source: t.TempDir()}, BootDeadline: time.Minute, Memory: 128 << 20},
		began: time.Now(), log: slog.New(slog.NewTextHandler(io.Discard, nil)), stop: make(chan time.Duration, 1), group: &group{},
	}
	if err := os.MkdirAll(filepath.Join(m.cfg.Rootfs.Source, "etc/openshell"), 0o755); err != nil {
		t.Fatal(err)
	}
	return m, filepath.Join(m.cfg.Boot, guest.RootListFile)
}

// TestListRoot: at each boot anew.
func TestListRoot(t *testing.T) {
	m, list := lister(t)
	if err := os.WriteFile(list, []byte("of the last boot"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := m.listRoot(); err != nil {
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

// TestListRootEnds: with a stop, and when all the time that a boot has is over. A list
// that can't be made is no reason to fail: the guest looks itself.
func TestListRootEnds(t *testing.T) {
	m, _ := lister(t)
	m.stop <- 0
	if err := m.listRoot(); !errors.Is(err, errStopped) {
		t.Errorf("stopped: %v", err)
	}
	m, _ = lister(t)
	m.began = time.Now().Add(-time.Hour)
	if err := m.listRoot(); !errors.As(err, new(*refusal)) {
		t.Errorf("out of time: %v", err)
	}
	m, list := lister(t)
	if err := os.Remove(m.cfg.Boot); err != nil {
		t.Fatal(err)
	}
	if err := m.listRoot(); err != nil {
		t.Errorf("no directory for it: %v", err)
	}
	if _, err := os.Stat(list); err == nil {
		t.Error("there is one")
	}
}

// TestRoomForARoot: a root that would fill the guest's memory is refused with what
// to do, before it fills it.
func TestRoomForARoot(t *testing.T) {
	m, _ := lister(t)
	if err := m.roomFor(50_000); err != nil {
		t.Error(err)
	}
	err := m.roomFor(60_000)
	const says = "the root has 60000 files, for which a guest of krun needs 74 MiB of its 128 MiB of memory"
	const hint = "give it --memory 149m, or --hypervisor qemu, which needs none for them"
	if err == nil || err.Error() != says || drivers.HintOf(err) != hint {
		t.Errorf("%v (%s)", err, drivers.HintOf(err))
	}
	m.cfg.Memory = 149 << 20
	if err := m.roomFor(60_000); err != nil {
		t.Errorf("with what the hint says: %v", err)
	}
}
