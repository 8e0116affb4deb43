package driverstest

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest/fixture"
)

// Swapped exchanges a source between the driver's look at it and the engine's. No
// container may run with the other directory. with makes a driver whose requests to
// start go through around.
func Swapped(t *testing.T, h fixture.Harness, with func(gatewayID string, around func(start func() error) error) drivers.Driver) {
	s := fixture.NewSuite(t, h)
	for name, back := range map[string]bool{"and back": true, "for good": false} {
		t.Run(name, func(t *testing.T) {
			dir := s.Source(t)
			source, link := filepath.Join(dir, "sub"), filepath.Join(dir, "link")
			if err := os.Symlink(filepath.Join(s.State, "keys"), link); err != nil {
				t.Fatal(err)
			}
			exchange := func() {
				if err := unix.Renameat2(unix.AT_FDCWD, source, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE); err != nil {
					t.Fatal(err)
				}
			}
			own := *s
			own.Driver = with(s.Gateway, func(start func() error) error {
				exchange()
				err := start()
				if back {
					exchange()
				}
				return err
			})
			b := own.Box(t, func(b *fixture.Box) { b.Mount(source, "/data") })
			err := b.Driver.Start(t.Context(), b.ID)
			Refused(t, err, "another directory")
			if got := b.Inspect().State; got == drivers.Running {
				t.Error("it runs all the same")
			}
		})
	}
}
