package driverstest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest/content"
)

// oddFiles is how many plain files an odd root has beside the odd ones, unless the
// variable says another number. A hundred thousand take an emulated guest some minutes.
const (
	oddFiles    = 3000
	oddFilesEnv = "OPENSHELL_ODD_FILES"
)

// OddRoot is the one case of the suite.
func OddRoot(t *testing.T, h Harness) { oddRoot(t, newSuite(t, h)) }

// oddRoot wants a sandbox to start with a root of all kinds of files, also those that
// the driver's user may not read, and to see of each what that user sees on the host.
// Then the workload changes some: the host's stay.
func oddRoot(t *testing.T, s *suite) string {
	b := s.prepare(t, func(b *box) {
		b.spec.Stdin = false
		b.shell(strings.Join([]string{
			b.tool + " tree /odd", `echo changes`, `cd /odd`,
			`echo more >>plain && cat plain`, `chmod 600 setuid && mv hard moved && cat moved`, `rm fifo socket && mkdir fifo`,
			`mv deep shallow && ls -d shallow`, `echo new >"$(printf 'not\377text\n.')" && echo ok`,
			`echo changed >full/file && cat full/file`,
		}, "\n"))
	})
	spec, _, err := b.driver.Resolve(t.Context(), b.spec)
	if err != nil {
		t.Fatal(err)
	}
	if spec.Container.Image != "" {
		return notApplicable + "its sandboxes come from images"
	}
	files := oddFiles
	if n, err := strconv.Atoi(os.Getenv(oddFilesEnv)); err == nil && n > 0 {
		files = n
	}
	root := filepath.Join(s.Dir, "odd-root")
	shellRoot(t, root)
	makeOdd(t, filepath.Join(root, "odd"), files)
	group := filepath.Join(root, "etc/group") // where a reader would wait for ever
	if err := errors.Join(os.Remove(group), unix.Mkfifo(group, 0o644)); err != nil {
		t.Fatal(err)
	}
	want := map[string]content.Seen{}
	content.Tree(filepath.Join(root, "odd"), func(s content.Seen) { want[s.Name] = s })

	spec.VM.Rootfs, spec.Memory = root, max(spec.Memory, int64(files)*4000)
	if err := b.driver.Create(t.Context(), spec); err != nil {
		t.Fatal(err, drivers.HintOf(err))
	}
	lines, _ := b.run(false).rest()
	changes := compareTrees(t, want, lines)
	if got, want := strings.Join(changes, " "), "plain more content shallow ok changed"; got != want {
		t.Errorf("the changes read %q, not %q", got, want)
	}
	content.Tree(filepath.Join(root, "odd"), func(s content.Seen) {
		if s != want[s.Name] {
			t.Errorf("on the host %s was %+v, and is %+v", s.Name, want[s.Name], s)
		}
	})
	return fmt.Sprintf("%d files", len(want))
}

// compareTrees takes what the sandbox saw and gives the lines after it.
func compareTrees(t *testing.T, want map[string]content.Seen, lines []string) (rest []string) {
	t.Helper()
	seen := map[string]bool{}
	for i, line := range lines {
		if line == "changes" {
			rest = lines[i+1:]
			break
		}
		var got content.Seen
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		expected, ok := want[got.Name]
		if os.Getuid() != 0 && expected.Owner != "" {
			expected.Owner = "0:0" // a user's VM knows no other
		}
		if !ok || got != expected {
			t.Errorf("%s is seen as %q %s, on the host %q %s", got.Name, got.Line, got.Owner, expected.Line, expected.Owner)
		}
		seen[got.Name] = true
	}
	for name, s := range want {
		// A directory that can't be read may seem empty instead.
		if !seen[name] && s.Line != syscall.EACCES.Error() {
			t.Errorf("%s is not seen", name)
		}
	}
	return rest
}

// makeOdd makes what an ordinary user can, and for root the rest.
func makeOdd(t *testing.T, dir string, files int) {
	t.Helper()
	in := func(name string) string { return filepath.Join(dir, name) }
	deep := "deep" + strings.Repeat("/"+strings.Repeat("d", 100), 25)
	errs := []error{
		os.MkdirAll(in(deep), 0o755), os.MkdirAll(in("closed/inner"), 0o755), os.Mkdir(in("full"), 0o755),
		os.Mkdir(in("sticky"), 0o755), unix.Chmod(in("sticky"), 0o3777),
		os.WriteFile(in("plain"), []byte("plain\n"), 0o644), os.WriteFile(in("empty"), nil, 0o644),
		os.WriteFile(in(deep+"/file"), []byte("deep"), 0o600), os.WriteFile(in("full/file"), []byte("in a directory"), 0o644),
		os.WriteFile(in("closed/inner/file"), []byte("closed"), 0o644), os.WriteFile(in("unreadable"), []byte("secret"), 0o644),
		os.WriteFile(in("setuid"), []byte("#!/bin/sh\n"), 0o755), unix.Chmod(in("setuid"), 0o6755),
		os.WriteFile(in("several"), []byte("content\n"), 0o644), os.Link(in("several"), in("hard")), os.Link(in("several"), in("full/hard")),
		os.WriteFile(in("sparse"), []byte("begin"), 0o644), os.Truncate(in("sparse"), 1<<36),
		os.WriteFile(in(strings.Repeat("n", 255)), []byte("long"), 0o644),
		os.WriteFile(in("not\xfftext\n\x1b[2J"), []byte("name"), 0o644), os.WriteFile(in(`"quoted"\ $(name)`), nil, 0o644),
		os.Symlink("/etc/passwd", in("absolute")), os.Symlink("loop", in("loop")), os.Symlink("nowhere", in("dangling")),
		os.Symlink("..", in("full/up")), os.Symlink(strings.Repeat("/x", 2000), in("far")), unix.Mkfifo(in("fifo"), 0o640),
	}
	for i := range files {
		name := in(fmt.Sprintf("many/%d/file-%d", i/500, i))
		errs = append(errs, writeFile(name, fmt.Sprintln("file", i)))
	}
	if os.Getuid() == 0 {
		errs = append(errs, makeOddByRoot(in)...)
	}
	socket, err := net.ListenUnix("unix", &net.UnixAddr{Name: shortName(t, in("socket")), Net: "unix"})
	if err == nil {
		socket.SetUnlinkOnClose(false)
		socket.Close()
	}
	errs = append(errs, err, os.Chmod(in("unreadable"), 0), os.Chmod(in("closed/inner"), 0), os.Chmod(in("closed"), 0))
	t.Cleanup(func() { // so that it can be removed
		os.Chmod(in("closed"), 0o700)
		os.Chmod(in("closed/inner"), 0o700)
		os.RemoveAll(dir)
	})
	for _, name := range []string{"plain", "full", "setuid"} {
		for attribute, value := range map[string]string{"user.note": "kept", "security.capability": fileCapability} {
			err := unix.Setxattr(in(name), attribute, []byte(value), 0)
			if err != nil && !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.EPERM) {
				errs = append(errs, err)
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// fileCapability is CAP_NET_RAW as a file has it.
const fileCapability = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// makeOddByRoot makes devices, and files of users whom nobody knows.
func makeOddByRoot(in func(string) string) (errs []error) {
	for name, owner := range map[string][2]int{"owned": {12345, 54321}, "nobody's": {65534, 65534}, "far-off": {1<<31 - 2, 1<<31 - 2}} {
		errs = append(errs, os.WriteFile(in(name), []byte(name), 0o600), os.Chown(in(name), owner[0], owner[1]))
	}
	return append(errs, unix.Mknod(in("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))),
		unix.Mknod(in("loop7"), unix.S_IFBLK|0o660, int(unix.Mkdev(7, 7))),
		os.Chown(in("setuid"), 12345, 0), unix.Chmod(in("setuid"), 0o6755))
}

// shortName is another path of a file to be made, since a socket's must be short.
func shortName(t *testing.T, name string) string {
	t.Helper()
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(name))
}
