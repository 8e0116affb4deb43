package trees

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers/driverstest/content"
)

// Odd makes files of all kinds below dir, and beside them that many plain ones. An
// ordinary user can't make all kinds.
func Odd(t *testing.T, dir string, files int) {
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
		os.WriteFile(in("several"), []byte("content\n"), 0o644),
		os.Link(in("several"), in("hard")), os.Link(in("several"), in("full/hard")),
		os.WriteFile(in("sparse"), []byte("begin"), 0o644), os.Truncate(in("sparse"), 1<<36),
		os.WriteFile(in(strings.Repeat("n", 255)), []byte("long"), 0o644),
		os.WriteFile(in("not\xfftext\n\x1b[2J"), []byte("name"), 0o644), os.WriteFile(in(`"quoted"\ $(name)`), nil, 0o644),
		os.Symlink("/etc/passwd", in("absolute")), os.Symlink("loop", in("loop")), os.Symlink("nowhere", in("dangling")),
		os.Symlink("..", in("full/up")), os.Symlink(strings.Repeat("/x", 2000), in("far")), unix.Mkfifo(in("fifo"), 0o640),
	}
	for i := range files {
		name := in(fmt.Sprintf("many/%d/file-%d", i/500, i))
		errs = append(errs, WriteFile(name, fmt.Sprintln("file", i)))
	}
	if os.Getuid() == 0 {
		errs = append(errs, makeOddByRoot(in)...)
	}
	socket := Listen(t, in("socket"))
	socket.SetUnlinkOnClose(false)
	errs = append(errs, socket.Close(), os.Chmod(in("unreadable"), 0), os.Chmod(in("closed/inner"), 0), os.Chmod(in("closed"), 0))
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

// Compare takes what a sandbox saw of the root, as the witness tells it, up to the line
// "changes". It gives the lines after that one.
func Compare(t *testing.T, want map[string]content.Seen, lines []string) (rest []string) {
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
