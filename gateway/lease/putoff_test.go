package lease

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers/driverstest/capture"
	"openshell-vm/gateway/lease/schedule"
	"openshell-vm/share"
)

// given is a source of one file beside the token.
type given struct{ data string }

func (g *given) Files(uint64) ([]share.File, error) {
	return []share.File{{Name: "beside", Data: []byte(g.data), Later: true}}, nil
}
func (g *given) Due() time.Time { return time.Time{} }

// TestChangeOnAFullDisk: a change of a file that finds no room is no renewal that failed. It is
// said, tried again, and published once there is room.
func TestChangeOnAFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounts a file system")
	}
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=256k"); err != nil {
		t.Skip(err)
	}
	defer unix.Unmount(disk, unix.MNT_DETACH)
	var log capture.Buffer
	k, _ := kept(t, time.Hour, 0, &log)
	beside := &given{"one"}
	k.opts.Further = func(*Lease) []Source { return []Source{beside} }
	s, err := share.Create(filepath.Join(disk, "share"), share.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l := New("sandbox", s, &holding{ttl: time.Hour})
	k.Add(l)
	l.Follow(Renewed)
	publish := func() {
		t.Helper()
		if err := deliver(t.Context(), k, l, true, nil); err != nil {
			t.Error(err)
		}
	}
	shows := func() string { data, _ := os.ReadFile(filepath.Join(s.AuthDir(), "beside")); return string(data) }
	publish()
	full := filepath.Join(disk, "full")
	if err := os.WriteFile(full, make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	beside.data = "two"
	began := time.Now()
	for range 3 {
		publish()
	}
	r, _ := l.Renewal()
	if r.Failures != 0 || r.LastError != "" || r.Renewals != 1 || shows() != "one" || l.Held() != "beside," {
		t.Errorf("%+v, %q, held %q", r, shows(), l.Held())
	}
	if lines := l.Warnings(); len(lines) != 1 || !strings.Contains(lines[0], "the disk is full") || !strings.HasSuffix(lines[0], " beside") {
		t.Errorf("%q", lines)
	}
	if at := k.renewals.At(l.id); at.Before(began.Add(schedule.LongestRetry).Round(0)) || at.After(time.Now().Add(schedule.LongestRetry)) {
		t.Errorf("it is tried again at %v", at)
	}
	if text := log.String(); strings.Count(text, "no room") != 1 || strings.Contains(text, "renewal failed") {
		t.Errorf("the log says %s", text)
	}
	if err := os.Remove(full); err != nil {
		t.Fatal(err)
	}
	publish()
	if r, _ := l.Renewal(); r.Renewals != 2 || shows() != "two" || len(l.Warnings()) != 0 {
		t.Errorf("with room: %+v, %q, %q", r, shows(), l.Warnings())
	}
}
