package driverstest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest/fixture"
	"openshell-vm/drivers/driverstest/trees"
)

// apart: nothing that one sandbox can find is the other's.
func apart(t *testing.T, s *fixture.Suite) string {
	one, two := s.Box(t, nil), s.Box(t, nil)
	_, secret := one.Publish()
	_, other := two.Publish()
	one.Run(false).Expect("ready")
	two.Run(false).Expect("ready")
	for b, foreign := range map[*fixture.Box][]byte{one: other, two: secret} {
		// Every readable file but the kernel's, by content.
		out, _ := b.Exec(drivers.Process{Args: []string{"sh", "-c",
			"for d in /*; do case $d in /proc|/sys|/dev) ;; *) " +
				"find $d -xdev -type f -size -64k -exec grep -l -F '" + string(foreign[:200]) + "' {} + ;; esac; done; " +
				"cat " + drivers.TokenFile + "; grep -c . /proc/self/mountinfo"}}, false).Rest()
		for _, line := range out[:max(0, len(out)-2)] {
			if strings.HasPrefix(line, "/") {
				t.Errorf("%s has the other's: %s", b.ID, line)
			}
		}
		if strings.Contains(strings.Join(out, "\n"), string(foreign)) {
			t.Errorf("%s reads the other's token", b.ID)
		}
		mounts, _ := b.Exec(drivers.Process{Args: []string{"cat", "/proc/self/mountinfo"}}, false).Rest()
		for _, line := range mounts {
			peer := one
			if b == one {
				peer = two
			}
			if strings.Contains(line, peer.ID) {
				t.Errorf("%s has a mount of the other's: %s", b.ID, line)
			}
		}
	}
	return ""
}

// hiddenDirs: the state directory lies in what is mounted, directly and through
// a bind mount. Nothing of it shows.
func hiddenDirs(t *testing.T, s *fixture.Suite) string {
	secret := filepath.Join(s.State, "keys", "secret-key")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	note := "directly"
	alias := filepath.Join(s.Source(t), "sub")
	if s.Mountable {
		if err := syscall.Mount(s.State, alias, "", syscall.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = syscall.Unmount(alias, syscall.MNT_DETACH) })
		note = "directly and through a bind mount"
	}
	b := s.Box(t, func(b *fixture.Box) {
		b.Mount(s.Dir, "/all")
		b.Runs("ls", "/all", drivers.AuthDir)
	})
	out, code := b.Run(false).Rest()
	if code != 0 || !slices.Contains(out, "/all/sources") {
		t.Fatalf("the mount does not show: code %d, %q", code, out)
	}
	for _, line := range out {
		if strings.Contains(line, "secret-key") || strings.HasPrefix(line, "/all/state/") {
			t.Errorf("inside: %s", line)
		}
	}
	return note
}

// kernelAndControls: a procfs leads to every directory of the host, and a control
// socket rules the host. A read-only mount makes neither harmless.
func kernelAndControls(t *testing.T, s *fixture.Suite) string {
	for _, source := range []string{"/proc", "/proc/self/root", "/run"} {
		b := s.Prepare(t, func(b *fixture.Box) { b.Mount(source, "/data") })
		_, _, err := b.Driver.Resolve(t.Context(), b.Spec)
		Refused(t, err, source)
	}
	source := s.Source(t)
	socket := filepath.Join(source, "engine", "e.sock")
	if err := os.Mkdir(filepath.Dir(socket), 0o755); err != nil {
		t.Fatal(err)
	}
	trees.Listen(t, socket)
	t.Setenv("CONTAINER_HOST", "unix://"+socket)
	if s.Driver.Name() == "podman" {
		t.Setenv("DOCKER_HOST", "unix://"+socket)
	}
	note := "a socket"
	if s.Mountable {
		sub := filepath.Join(source, "sub")
		if err := syscall.Mount("proc", sub, "proc", 0, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = syscall.Unmount(sub, syscall.MNT_DETACH) })
		note += ", and a procfs as a submount"
	}
	b := s.Box(t, func(b *fixture.Box) {
		b.Mount(source, "/data")
		b.Runs("ls", "/data")
	})
	out, code := b.Run(false).Rest()
	if want := []string{"/data", "/data/engine", "/data/file", "/data/sub"}; code != 0 || !slices.Equal(out, want) {
		t.Errorf("inside: %q, wanted %q", out, want)
	}
	// What comes later is found at the next start.
	late := s.Source(t)
	b = s.Box(t, func(b *fixture.Box) { b.Mount(late, "/data") })
	trees.Listen(t, filepath.Join(late, "sub", "e.sock"))
	t.Setenv("CONTAINER_HOST", "unix://"+filepath.Join(late, "sub", "e.sock"))
	if s.Driver.Name() == "podman" {
		t.Setenv("DOCKER_HOST", os.Getenv("CONTAINER_HOST"))
	}
	if err := b.Driver.Start(t.Context(), b.ID); err == nil {
		out, _ := b.Exec(drivers.Process{Args: []string{b.Tool, "ls", "/data/sub"}}, false).Rest()
		if !slices.Equal(out, []string{"/data/sub"}) {
			t.Errorf("a socket that came later shows: %q", out)
		}
	} else {
		Refused(t, err, "")
	}
	return note
}
