package driverstest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"openshell-vm/drivers"
)

// refused: one line, a hint, and nothing made.
func refused(t *testing.T, s *suite) string {
	n := 0
	for name, change := range map[string]func(b *box){
		"too many CPUs":      func(b *box) { b.spec.CPUs = 4096 },
		"too much memory":    func(b *box) { b.spec.Memory = 1 << 50 },
		"too little memory":  func(b *box) { b.spec.Memory = 4096 },
		"a missing source":   func(b *box) { b.mount(b.s.Dir+"/sources/absent", "/absent") },
		"a hidden source":    func(b *box) { b.mount(b.s.state+"/keys", "/keys") },
		"over the share":     func(b *box) { b.mount(b.s.Dir+"/sources", "/etc/openshell/auth/x") },
		"the share's target": func(b *box) { b.mount(b.s.Dir+"/sources", drivers.AuthDir) },
		"a rootfs that is not there": func(b *box) {
			b.spec.Image, b.spec.VM.Rootfs = "", b.s.Dir+"/sources/absent"
		},
		"what only the other kind of sandbox has": func(b *box) {
			if b.spec.Image != "" {
				b.spec.VM.RequireJail = true
			} else {
				b.spec.Image, b.spec.VM.Rootfs = "debian:12", b.s.Dir
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := s.prepare(t, change)
			_, _, err := b.driver.Resolve(t.Context(), b.spec)
			Refused(t, err, "")
			if _, err := b.driver.Inspect(t.Context(), b.id); !errors.Is(err, drivers.ErrNotFound) {
				t.Errorf("something was made: %v", err)
			}
		})
		n++
	}
	return fmt.Sprintf("%d of %d", n, n)
}

// vanished: a source that is gone at the start is refused. A sandbox that the engine
// does not have is not found.
func vanished(t *testing.T, s *suite) string {
	source := s.source(t)
	b := s.box(t, func(b *box) { b.mount(source, "/data") })
	remove(t, source)
	err := b.driver.Start(t.Context(), b.id)
	Refused(t, err, source)
	if exists(source) {
		t.Error("the engine made an empty directory in its place")
	}
	if got := b.inspect().State; got == drivers.Running {
		t.Errorf("%s after a refused start", got)
	}
	for name, call := range map[string]func(context.Context, string) error{
		"start": b.driver.Start,
		"stop":  func(ctx context.Context, id string) error { return b.driver.Stop(ctx, id, 0) },
		"inspect": func(ctx context.Context, id string) error {
			_, err := b.driver.Inspect(ctx, id)
			return err
		},
	} {
		if err := call(t.Context(), newID()); !errors.Is(err, drivers.ErrNotFound) {
			t.Errorf("%s of an unknown sandbox: %v", name, err)
		}
	}
	return fmt.Sprint(err)
}

// foreign: a share is refused where the engine has nothing, and where it has another
// directory of the same name.
func foreign(t *testing.T, s *suite) string {
	if !s.Blind || !s.Mountable {
		return notApplicable + "it sees the mounts that the suite sees"
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
		s.mounted(t, dir)
		b := s.prepare(t, func(b *box) {
			if err := os.Mkdir(auth, 0o755); err != nil {
				t.Fatal(err)
			}
			b.spec.Auth = mount(t, auth, drivers.AuthDir)
		})
		err = b.driver.Create(t.Context(), b.spec)
		if err == nil {
			err = b.driver.Start(t.Context(), b.id)
		}
		Refused(t, err, "sees other mounts")
		if status, err := b.driver.Inspect(t.Context(), b.id); err == nil && status.State == drivers.Running {
			t.Errorf("%s: it runs all the same", name)
		}
	}
	return "nothing there, another directory there"
}
