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
	"openshell-vm/drivers/driverstest/trees"
)

// writes: a sandbox may write to the directories that are given to it for that, and to no
// other, whichever lies in which. What it writes is on the host at once, belongs to who runs
// the driver, and is there after a restart. A volume lies in a hidden directory.
func writes(t *testing.T, s *suite) string {
	work, kept, data, inner, volume := s.source(t), s.source(t), s.source(t), s.source(t), s.volume(t)
	b := s.box(t, func(b *box) {
		b.write(work, "/work")
		b.mount(kept, "/work/sub")
		b.mount(data, "/data")
		b.write(inner, "/data/sub")
		b.spec.Writable = append(b.spec.Writable, writable(t, volume, "/volume", "v"))
	})
	b.run(false).expect("ready")
	limits := b.does(t, "/work")
	out, code := b.exec(drivers.Process{Args: []string{b.tool, "tamper", "/work/sub", "/data"}}, false).rest()
	for _, line := range out {
		if strings.HasSuffix(line, "DONE") && !strings.HasPrefix(line, "remount") {
			t.Errorf("a read-only mount beside a writable one: %s", line)
		}
	}
	if code != 0 {
		t.Errorf("tamper ended with %d", code)
	}
	b.expects(t, "echo new > /work/file && echo new > /data/sub/made && mkdir -p /volume/d && "+
		"echo new > /volume/d/made && cat /work/sub/file")
	for _, file := range []string{work + "/file", inner + "/made", volume + "/d/made"} {
		if text, err := os.ReadFile(file); err != nil || string(text) != "new\n" {
			t.Errorf("on the host %s is %q, %v", file, text, err)
		}
	}
	s.owned(t, inner+"/made", volume+"/d")
	for _, dir := range []string{kept, data} {
		if text, err := os.ReadFile(dir + "/file"); err != nil || string(text) != "content" {
			t.Errorf("on the host %s/file is %q, %v", dir, text, err)
		}
	}
	s.hostWrites(t, b, work)
	b.stop(0)
	b.ended()
	b.run(false).expect("ready")
	b.expects(t, "cat /volume/d/made && echo again >> /volume/d/made && ! test -e /volume/../keys")
	if text, err := os.ReadFile(volume + "/d/made"); err != nil || string(text) != "new\nagain\n" {
		t.Errorf("after a restart: %q, %v", text, err)
	}
	b.stop(0)
	s.refusesToWrite(t)
	return limits
}

// volume makes a directory as the gateway does for a volume.
func (s *suite) volume(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(s.state, "volumes", newID(), "data")
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

func (b *box) write(source, target string) {
	b.t.Helper()
	b.spec.Writable = append(b.spec.Writable, writable(b.t, source, target, ""))
}

// does lets the witness do there all that programs do.
func (b *box) does(t *testing.T, dir string) string {
	t.Helper()
	out, _ := b.exec(drivers.Process{Args: []string{b.tool, "files", dir}}, false).rest()
	return JudgeFiles(t, out, b.s.Limits)
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
func (b *box) expects(t *testing.T, script string) {
	t.Helper()
	client := b.exec(drivers.Process{Args: []string{"sh", "-c", script}}, false)
	if out, code := client.rest(); code != 0 {
		t.Errorf("%s: code %d, %q, %s", script, code, out, client.stderr.String())
	}
}

// owned wants what root inside has made to belong to who runs the driver: its root is that
// user. An engine of root's makes files of root's.
func (s *suite) owned(t *testing.T, paths ...string) {
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
func (s *suite) hostWrites(t *testing.T, b *box, work string) {
	t.Helper()
	for _, text := range []string{"by the host", "by the host once more"} {
		next := filepath.Join(work, "next")
		if err := errors.Join(os.WriteFile(next, []byte(text), 0o644), os.Rename(next, work+"/file")); err != nil {
			t.Fatal(err)
		}
		s.eventually(t, func() error {
			out, _ := b.exec(drivers.Process{Args: []string{"cat", "/work/file"}}, false).rest()
			if !slices.Equal(out, []string{text}) {
				return fmt.Errorf("inside it is %q, the host wrote %q", out, text)
			}
			return nil
		})
	}
}

// refusesToWrite: where a read-only mount has a mask, a writable one is refused.
func (s *suite) refusesToWrite(t *testing.T) {
	t.Helper()
	sockets := s.source(t)
	trees.Listen(t, filepath.Join(sockets, "sub", "e.sock"))
	t.Setenv("CONTAINER_HOST", "unix://"+filepath.Join(sockets, "sub", "e.sock"))
	t.Setenv("DOCKER_HOST", os.Getenv("CONTAINER_HOST"))
	sources := []string{"/", "/proc", "/run", s.Dir, s.state, filepath.Join(s.state, "keys"), sockets, filepath.Join(s.Dir, "absent")}
	if s.Mountable {
		alias := s.source(t)
		if err := syscall.Mount(s.state, alias+"/sub", "", syscall.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = syscall.Unmount(alias+"/sub", syscall.MNT_DETACH) })
		sources = append(sources, alias)
	}
	for _, source := range sources {
		b := s.prepare(t, func(b *box) { b.write(source, "/written") })
		_, _, err := b.driver.Resolve(t.Context(), b.spec)
		Refused(t, err, source)
	}
}
