package driverstest

import (
	"errors"
	"fmt"
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

// writes: a sandbox may write to the directories that are given to it for that, and to no
// other, whichever lies in which. What it writes is on the host at once, belongs to who runs
// the driver, and is there after a restart. A volume lies in a hidden directory.
func writes(t *testing.T, s *fixture.Suite) string {
	work, kept, data, inner, volume := s.Source(t), s.Source(t), s.Source(t), s.Source(t), volume(s, t)
	b := s.Box(t, func(b *fixture.Box) {
		write(b, work, "/work")
		b.Mount(kept, "/work/sub")
		b.Mount(data, "/data")
		write(b, inner, "/data/sub")
		b.Spec.Writable = append(b.Spec.Writable, writable(t, volume, "/volume", "v"))
	})
	b.Run(false).Expect("ready")
	limits := does(b, t, "/work")
	out, code := b.Exec(drivers.Process{Args: []string{b.Tool, "tamper", "/work/sub", "/data"}}, false).Rest()
	for _, line := range out {
		if strings.HasSuffix(line, "DONE") && !strings.HasPrefix(line, "remount") {
			t.Errorf("a read-only mount beside a writable one: %s", line)
		}
	}
	if code != 0 {
		t.Errorf("tamper ended with %d", code)
	}
	expects(b, t, "echo new > /work/file && echo new > /data/sub/made && mkdir -p /volume/d && "+
		"echo new > /volume/d/made && cat /work/sub/file")
	for _, file := range []string{work + "/file", inner + "/made", volume + "/d/made"} {
		if text, err := os.ReadFile(file); err != nil || string(text) != "new\n" {
			t.Errorf("on the host %s is %q, %v", file, text, err)
		}
	}
	owned(s, t, inner+"/made", volume+"/d")
	for _, dir := range []string{kept, data} {
		if text, err := os.ReadFile(dir + "/file"); err != nil || string(text) != "content" {
			t.Errorf("on the host %s/file is %q, %v", dir, text, err)
		}
	}
	hostWrites(s, t, b, work)
	b.Stop(0)
	b.Ended()
	b.Run(false).Expect("ready")
	expects(b, t, "cat /volume/d/made && echo again >> /volume/d/made && ! test -e /volume/../keys")
	if text, err := os.ReadFile(volume + "/d/made"); err != nil || string(text) != "new\nagain\n" {
		t.Errorf("after a restart: %q, %v", text, err)
	}
	b.Stop(0)
	refusesToWrite(s, t)
	return limits
}

// volume makes a directory as the gateway does for a volume.
func volume(s *fixture.Suite, t *testing.T) string {
	t.Helper()
	dir := filepath.Join(s.State, "volumes", fixture.NewID(), "data")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func writable(t testing.TB, source, target, volume string) drivers.Writable {
	t.Helper()
	w, err := drivers.NewWritable(source, target, volume)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func write(b *fixture.Box, source, target string) {
	b.T.Helper()
	b.Spec.Writable = append(b.Spec.Writable, writable(b.T, source, target, ""))
}

// does lets the witness do there all that programs do.
func does(b *fixture.Box, t *testing.T, dir string) string {
	t.Helper()
	out, _ := b.Exec(drivers.Process{Args: []string{b.Tool, "files", dir}}, false).Rest()
	return JudgeFiles(t, out, b.Suite.Limits)
}

// JudgeFiles looks at what the witness's command files said. What does not work must be among
// known, which has words of the errors. It returns a note for the table.
func JudgeFiles(t *testing.T, out []string, known map[string]string) string {
	t.Helper()
	var limits []string
	for _, line := range out {
		name, result, _ := strings.Cut(line, ": ")
		if result == "ok" {
			continue
		}
		if words, listed := known[name]; !listed || !strings.Contains(result, words) {
			t.Errorf("in a directory that can be written to: %s", line)
		}
		limits = append(limits, name)
	}
	if len(out) < 30 {
		t.Errorf("only %d things were done: %q", len(out), out)
	}
	if len(limits) == 0 {
		return fmt.Sprintf("all of %d deeds", len(out))
	}
	return fmt.Sprintf("%d deeds, but not: %s", len(out)-len(limits), strings.Join(limits, ", "))
}

// expects runs a script that has to succeed.
func expects(b *fixture.Box, t *testing.T, script string) {
	t.Helper()
	client := b.Exec(drivers.Process{Args: []string{"sh", "-c", script}}, false)
	if out, code := client.Rest(); code != 0 {
		t.Errorf("%s: code %d, %q, %s", script, code, out, client.Stderr.String())
	}
}

// owned wants what root inside has made to belong to who runs the driver: its root is that
// user. An engine of root's makes files of root's.
func owned(s *fixture.Suite, t *testing.T, paths ...string) {
	t.Helper()
	want := os.Getuid()
	if s.RootIsRoot {
		want = 0
	}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			t.Error(err)
			continue
		}
		if owner := int(info.Sys().(*syscall.Stat_t).Uid); owner != want {
			t.Errorf("%s belongs to user %d", path, owner)
		}
	}
}

// hostWrites: a file that is opened inside after the host has replaced or changed it shows
// that.
func hostWrites(s *fixture.Suite, t *testing.T, b *fixture.Box, work string) {
	t.Helper()
	for _, text := range []string{"by the host", "by the host once more"} {
		next := filepath.Join(work, "next")
		if err := errors.Join(os.WriteFile(next, []byte(text), 0o644), os.Rename(next, work+"/file")); err != nil {
			t.Fatal(err)
		}
		s.Eventually(t, func() error {
			out, _ := b.Exec(drivers.Process{Args: []string{"cat", "/work/file"}}, false).Rest()
			if !slices.Equal(out, []string{text}) {
				return fmt.Errorf("inside it is %q, the host wrote %q", out, text)
			}
			return nil
		})
	}
}

// refusesToWrite: where a read-only mount has a mask, a writable one is refused.
func refusesToWrite(s *fixture.Suite, t *testing.T) {
	t.Helper()
	sockets := s.Source(t)
	trees.Listen(t, filepath.Join(sockets, "sub", "e.sock"))
	t.Setenv("CONTAINER_HOST", "unix://"+filepath.Join(sockets, "sub", "e.sock"))
	t.Setenv("DOCKER_HOST", os.Getenv("CONTAINER_HOST"))
	sources := []string{"/", "/proc", "/run", s.Dir, s.State, filepath.Join(s.State, "keys"), sockets, filepath.Join(s.Dir, "absent")}
	if s.Mountable {
		alias := s.Source(t)
		if err := syscall.Mount(s.State, alias+"/sub", "", syscall.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = syscall.Unmount(alias+"/sub", syscall.MNT_DETACH) })
		sources = append(sources, alias)
	}
	for _, source := range sources {
		b := s.Prepare(t, func(b *fixture.Box) { write(b, source, "/written") })
		_, _, err := b.Driver.Resolve(t.Context(), b.Spec)
		Refused(t, err, source)
	}
}
