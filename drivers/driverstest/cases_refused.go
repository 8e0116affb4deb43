package driverstest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest/fixture"
)

// refused: one line, a hint, and nothing made.
func refused(t *testing.T, s *fixture.Suite) string {
	n := 0
	for name, change := range map[string]func(b *fixture.Box){
		"too many CPUs":      func(b *fixture.Box) { b.Spec.CPUs = 4096 },
		"too much memory":    func(b *fixture.Box) { b.Spec.Memory = 1 << 50 },
		"too little memory":  func(b *fixture.Box) { b.Spec.Memory = 4096 },
		"a missing source":   func(b *fixture.Box) { b.Mount(b.Suite.Dir+"/sources/absent", "/absent") },
		"a hidden source":    func(b *fixture.Box) { b.Mount(b.Suite.State+"/keys", "/keys") },
		"over the share":     func(b *fixture.Box) { b.Mount(b.Suite.Dir+"/sources", "/etc/openshell/auth/x") },
		"the share's target": func(b *fixture.Box) { b.Mount(b.Suite.Dir+"/sources", drivers.AuthDir) },
		"a rootfs that is not there": func(b *fixture.Box) {
			b.Spec.Image, b.Spec.VM.Rootfs = "", b.Suite.Dir+"/sources/absent"
		},
		"what only the other kind of sandbox has": func(b *fixture.Box) {
			if b.Spec.Image != "" {
				b.Spec.VM.RequireJail = true
			} else {
				b.Spec.Image, b.Spec.VM.Rootfs = "debian:12", b.Suite.Dir
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := s.Prepare(t, change)
			_, _, err := b.Driver.Resolve(t.Context(), b.Spec)
			Refused(t, err, "")
			if _, err := b.Driver.Inspect(t.Context(), b.ID); !errors.Is(err, drivers.ErrNotFound) {
				t.Errorf("something was made: %v", err)
			}
		})
		n++
	}
	return fmt.Sprintf("%d of %d", n, n)
}

// vanished: a source that is gone at the start is refused. A sandbox that the engine
// does not have is not found.
func vanished(t *testing.T, s *fixture.Suite) string {
	source := s.Source(t)
	b := s.Box(t, func(b *fixture.Box) { b.Mount(source, "/data") })
	fixture.RemoveTree(t, source)
	err := b.Driver.Start(t.Context(), b.ID)
	Refused(t, err, source)
	if fixture.Exists(source) {
		t.Error("the engine made an empty directory in its place")
	}
	if got := b.Inspect().State; got == drivers.Running {
		t.Errorf("%s after a refused start", got)
	}
	for name, call := range map[string]func(context.Context, string) error{
		"start": b.Driver.Start,
		"stop":  func(ctx context.Context, id string) error { return b.Driver.Stop(ctx, id, 0) },
		"inspect": func(ctx context.Context, id string) error {
			_, err := b.Driver.Inspect(ctx, id)
			return err
		},
	} {
		if err := call(t.Context(), fixture.NewID()); !errors.Is(err, drivers.ErrNotFound) {
			t.Errorf("%s of an unknown sandbox: %v", name, err)
		}
	}
	return fmt.Sprint(err)
}

// foreign: a share is refused where the engine has nothing, and where it has another
// directory of the same name.
func foreign(t *testing.T, s *fixture.Suite) string {
	if !s.Blind || !s.Mountable {
		return fixture.NotApplicable + "it sees the mounts that the suite sees"
	}
	for name, same := range map[string]bool{"nothing there": false, "another directory there": true} {
		dir, err := os.MkdirTemp("/var/tmp", "suite-foreign-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		auth := filepath.Join(dir, "auth")
		if same {
			if err := os.Mkdir(auth, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		s.Mounted(t, dir)
		b := s.Prepare(t, func(b *fixture.Box) {
			if err := os.Mkdir(auth, 0o755); err != nil {
				t.Fatal(err)
			}
			b.Spec.Auth = fixture.Mount(t, auth, drivers.AuthDir)
		})
		err = b.Driver.Create(t.Context(), b.Spec)
		if err == nil {
			err = b.Driver.Start(t.Context(), b.ID)
		}
		Refused(t, err, "sees other mounts")
		if status, err := b.Driver.Inspect(t.Context(), b.ID); err == nil && status.State == drivers.Running {
			t.Errorf("%s: it runs all the same", name)
		}
	}
	return "nothing there, another directory there"
}
