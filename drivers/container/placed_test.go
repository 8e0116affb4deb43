package container

import (
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"openshell-vm/drivers"
	"openshell-vm/drivers/container/place"
	"openshell-vm/drivers/driverstest"
)

// movable is an engine that may be at another place the next time.
type movable struct {
	*fake
	at   place.Place
	stay string
}

func (m *movable) Place() place.Place { return m.at }
func (m *movable) Stay(host string)   { m.stay = host }

// TestAnotherEngine: the engine that is asked is not the one that a sandbox is in.
// It says nothing of the sandbox, and no method takes it for gone.
func TestAnotherEngine(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "one.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	one, two := "unix://"+socket, "unix:///nowhere/two.sock"
	m := &movable{fake: &fake{}, at: place.Place{Host: one}}
	created(t, m.fake)
	d := New(m, "gateway")
	d.KeepPlace(testID, one)
	if m.stay != one {
		t.Errorf("it stays with %q", m.stay)
	}
	if _, err := d.Inspect(t.Context(), testID); err != nil {
		t.Fatal(err)
	}
	m.fake.id = "of nobody's" // the other engine has none of that id
	m.at.Host = two
	ctx := t.Context()
	for method, call := range map[string]func() error{
		"inspect": func() error { _, err := d.Inspect(ctx, testID); return err },
		"start":   func() error { return d.Start(ctx, testID) },
		"stop":    func() error { return d.Stop(ctx, testID, 0) },
		"remove":  func() error { return d.Remove(ctx, testID) },
		"wait":    func() error { _, err := d.Wait(ctx, testID); return err },
		"exec":    func() error { _, err := d.Exec(ctx, testID, drivers.Process{}, drivers.Streams{}); return err },
	} {
		err := call()
		if errors.Is(err, drivers.ErrNotFound) {
			t.Errorf("%s takes it for gone: %v", method, err)
		}
		driverstest.Refused(t, err, "it is in fake at "+one+", and "+two+" is asked")
	}
	m.at.Host = one
	if _, err := d.Inspect(ctx, testID); !errors.Is(err, drivers.ErrNotFound) {
		t.Errorf("asked in its own place: %v", err)
	}
	m.at.Host = two
	l.Close() // takes the socket away: that engine was uninstalled
	if err := d.Remove(ctx, testID); err != nil {
		t.Errorf("removed without its engine: %v", err)
	}
	if m.stay != "" {
		t.Errorf("with no sandbox it stays with %q", m.stay)
	}
}

// TestStaysWhereMostAre of several engines' sandboxes.
func TestStaysWhereMostAre(t *testing.T) {
	m := &movable{fake: &fake{}}
	d := New(m, "gateway")
	for id, at := range map[string]string{"1": "a", "2": "b", "3": "b", "4": ""} {
		d.KeepPlace(id, at)
	}
	if m.stay != "b" {
		t.Errorf("it stays with %q", m.stay)
	}
	d.KeepPlace("2", "a")
	if m.stay != "a" {
		t.Errorf("after a move it stays with %q", m.stay)
	}
}

// TestDefault: where nothing names an engine, the usual one is taken; where
// nothing listens there, another one is, and that is told.
func TestDefault(t *testing.T) {
	dir := t.TempDir()
	usual, own := filepath.Join(dir, "usual.sock"), filepath.Join(dir, "own.sock")
	l, err := net.Listen("unix", own)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if p := (place.Place{}).Default("", usual, own); p.Host != "unix://"+own || p.Absent != usual || !strings.Contains(p.Where(), usual) {
		t.Errorf("the usual one is down: %+v", p)
	}
	d := New(&movable{fake: &fake{}, at: (place.Place{Engine: "Docker"}).Default("", usual, own)}, "gateway")
	if _, note := d.Place(); !strings.Contains(note, own) || !strings.Contains(note, usual) {
		t.Errorf("it is told as %q", note)
	}
	for _, stay := range []string{usual, own} {
		if p := (place.Place{}).Default("unix://"+stay, usual, own); p.Host != "unix://"+stay || p.Absent != "" {
			t.Errorf("its sandboxes are in %s: %+v", stay, p)
		}
	}
	if p := (place.Place{}).Default("tcp://elsewhere:1", usual, own); p.Host != "unix://"+own {
		t.Errorf("its sandboxes are where only a variable leads: %+v", p)
	}
	l, err = net.Listen("unix", usual)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if p := (place.Place{}).Default("", usual, own); p.Host != "unix://"+usual || p.Absent != "" || p.From != place.FromDefault {
		t.Errorf("both are up: %+v", p)
	}
}
