// Package copying has the case of files in and out, published ports, and what a sandbox uses.
package copying

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest/fixture"
	"openshell-vm/internal/tree"
)

// How many files are copied, unless the variable says another number. Every mode is there with
// every owner. A guest under emulation takes some milliseconds for each.
const (
	manyFiles    = 3_000
	fewFiles     = 1_500 // where nothing else is learnt from more
	guestFiles   = 200
	copyFilesEnv = "OPENSHELL_COPY_FILES"
)

// Copies: a tree goes into a sandbox and comes back the same. What is read-only stays so.
// Its ports are published meanwhile.
func Copies(t *testing.T, s *fixture.Suite) string {
	b := s.Box(t, withPorts)
	copier, ok := b.Driver.(drivers.Copier)
	if !ok {
		t.Fatal("this driver can't copy")
	}
	b.Run(false).Expect("ready")
	echoed(b)
	files := manyFiles
	switch {
	case s.Guest:
		files = guestFiles
	case s.LosesOwners:
		files = fewFiles
	}
	files = fixture.NumberFrom(copyFilesEnv, files)
	from := filepath.Join(t.TempDir(), "tree")
	makeTree(t, from, files)
	begin := time.Now()
	copyIn(b, copier, from, "/var/tmp/..")
	in := time.Since(begin)
	begin = time.Now()
	copyBack(b, copier, "/var/tree", from)
	out := time.Since(begin)
	if l, code := b.Exec(drivers.Process{Args: []string{"sh", "-c", "cat /var/tree/odd*name && " +
		"[ -u /var/tree/program ] && readlink /var/tree/dangling"}},
		false).Rest(); code != 0 || strings.Join(l, " ") != "odd /no/such" {
		t.Errorf("inside: code %d, %q", code, l)
	}
	pathErrors(b, copier)
	shareStays(b, copier)
	launches(b)
	before := used(b)
	b.Exec(drivers.Process{Args: []string{"sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"}}, false).Rest()
	if now := used(b); !s.Uncounted && (now.CPU <= before.CPU || now.Memory <= 0 || now.Memory > 64<<30) {
		t.Errorf("it used %+v, and then %+v", before, now)
	}
	b.Stop(0)
	if _, err := b.Driver.(drivers.Meter).Usage(t.Context(), b.ID); !errors.Is(err, drivers.ErrNotRunning) {
		t.Errorf("stopped, it uses something: %v", err)
	}
	closed(b)
	shareStays(b, copier)
	if _, err := copier.StatPath(t.Context(), b.ID, "/var/tree"); s.Guest != errors.Is(err, drivers.ErrNotRunning) {
		t.Errorf("stopped: %v", err)
	} else if !s.Guest {
		copyBack(b, copier, "/var/tree/d0/.", from+"/d0")
	}
	return fmt.Sprintf("%d files: in %.1f s, out %.1f s; %d ports", files, in.Seconds(), out.Seconds(), len(b.Spec.Ports))
}

// used is what the sandbox uses.
func used(b *fixture.Box) drivers.Usage {
	b.T.Helper()
	meter, ok := b.Driver.(drivers.Meter)
	if !ok {
		b.T.Fatal("this driver can't tell what a sandbox uses")
	}
	u, err := meter.Usage(b.T.Context(), b.ID)
	if err != nil && !b.Suite.Uncounted {
		b.T.Fatalf("usage: %s", fixture.Told(err))
	}
	return u
}

// makeTree makes a tree with all that a copy has to keep.
func makeTree(t *testing.T, top string, files int) {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for i := range files {
		dir := filepath.Join(top, fmt.Sprint("d", i%20), fmt.Sprint("e", i%7))
		if i < 20*7 {
			check(os.MkdirAll(dir, 0o755))
		}
		name, data := filepath.Join(dir, fmt.Sprint(i)), make([]byte, random.IntN(600))
		for j := range data {
			data[j] = byte(random.Uint32())
		}
		check(os.WriteFile(name, data, 0o600))
		check(os.Chmod(name, []fs.FileMode{0o600, 0o644, 0o755, 0o444}[i%4]))
		if os.Geteuid() == 0 {
			check(os.Chown(name, 1000+i%3, 2000+i%5))
		}
	}
	check(os.WriteFile(filepath.Join(top, "odd \"name"), []byte("odd\n"), 0o600))
	check(os.WriteFile(filepath.Join(top, "program"), bytes.Repeat([]byte("0123456789abcdef"), 1<<16), 0o755))
	check(unix.Chmod(filepath.Join(top, "program"), 0o4755))
	// Not of the program: Docker takes the setuid bit from a file with two names.
	check(os.Link(filepath.Join(top, "odd \"name"), filepath.Join(top, "d1/hard")))
	check(os.Symlink("/no/such", filepath.Join(top, "dangling")))
	check(os.Symlink("d1", filepath.Join(top, "to-dir")))
	check(os.MkdirAll(filepath.Join(top, "empty"), 0o700))
	// Docker cuts times to the second, and Podman rounds them.
	second := int64(981173106)
	check(filepath.WalkDir(top, func(file string, _ fs.DirEntry, err error) error {
		second++
		at := []unix.Timespec{{Sec: second}, {Sec: second}}
		return errors.Join(err, unix.UtimesNanoAt(unix.AT_FDCWD, file, at, unix.AT_SYMLINK_NOFOLLOW))
	}))
}

func copyIn(b *fixture.Box, copier drivers.Copier, from, dir string) {
	b.T.Helper()
	r, w := io.Pipe()
	go func() {
		_, err := tree.Pack(w, from, filepath.Base(from), tree.PackOptions{})
		w.CloseWithError(err)
	}()
	if err := copier.CopyIn(b.T.Context(), b.ID, dir, r); err != nil {
		b.T.Fatalf("copy in: %s", fixture.Told(err))
	}
	r.Close()
}

// copyBack copies a path out, and compares it with a tree.
func copyBack(b *fixture.Box, copier drivers.Copier, path, with string) {
	b.T.Helper()
	to := b.T.TempDir()
	opt := tree.Options{As: "copy", Owners: os.Geteuid() == 0, Privileges: true}
	if strings.HasSuffix(path, "/.") {
		opt.As = ""
	}
	r, w := io.Pipe()
	sent := make(chan error, 1)
	go func() {
		err := copier.CopyOut(b.T.Context(), b.ID, path, w)
		w.CloseWithError(err)
		sent <- err
	}()
	_, err := tree.Unpack(r, to, opt)
	r.Close()
	if err := errors.Join(err, <-sent); err != nil {
		b.T.Fatalf("copy out: %s", fixture.Told(err))
	}
	var lost uint32
	if b.Suite.LosesOwners { // a program of nobody in particular runs as nobody else
		lost = syscall.S_ISUID | syscall.S_ISGID
	}
	want, got := listed(b, with, lost), listed(b, filepath.Join(to, opt.As), 0)
	if len(want) != len(got) {
		b.T.Errorf("%s: %d names went in, %d came out", path, len(want), len(got))
	}
	wrong := 0
	for name, was := range want {
		if got[name] != was && wrong < 10 {
			b.T.Errorf("%s: %q was %s, and is %s", path, name, was, got[name])
			wrong++
		}
	}
}

// listed describes all files of a tree but its top, without the bits of the mode that are lost.
func listed(b *fixture.Box, top string, lost uint32) map[string]string {
	b.T.Helper()
	list := map[string]string{}
	err := filepath.WalkDir(top, func(file string, _ fs.DirEntry, err error) error {
		if err != nil || file == top {
			return err
		}
		var st syscall.Stat_t
		if err := syscall.Lstat(file, &st); err != nil {
			return err
		}
		content, links := "", st.Nlink
		switch st.Mode & syscall.S_IFMT {
		case syscall.S_IFLNK:
			content, err = os.Readlink(file)
		case syscall.S_IFDIR:
			links = 0
		case syscall.S_IFREG:
			var data []byte
			data, err = os.ReadFile(file)
			content = string(data)
		}
		owner := fmt.Sprintf("%d:%d", st.Uid, st.Gid)
		if b.Suite.LosesOwners {
			owner = "?"
		}
		name, _ := filepath.Rel(top, file)
		list[name] = fmt.Sprintf("%o %s %d %v %d bytes %x", st.Mode&^lost, owner, links, st.Mtim, len(content),
			sha256.Sum256([]byte(content)))
		return err
	})
	if err != nil {
		b.T.Fatal(err)
	}
	return list
}

// pathErrors: what is not there is told apart from what fails.
func pathErrors(b *fixture.Box, copier drivers.Copier) {
	b.T.Helper()
	ctx := b.T.Context()
	if _, err := copier.StatPath(ctx, b.ID, "/no/such"); !errors.Is(err, drivers.ErrNoPath) {
		b.T.Errorf("stat of nothing: %v", err)
	}
	if err := copier.CopyOut(ctx, b.ID, "/no/such", io.Discard); !errors.Is(err, drivers.ErrNoPath) {
		b.T.Errorf("copy of nothing: %v", err)
	}
	if err := copier.CopyIn(ctx, b.ID, "/no/such", emptyArchive()); !errors.Is(err, drivers.ErrNoPath) {
		b.T.Errorf("copy to nowhere: %v", err)
	}
	stat, err := copier.StatPath(ctx, b.ID, "/var/tree/to-dir")
	if err != nil || stat.Mode&fs.ModeSymlink == 0 || stat.LinkTarget != "/var/tree/d1" {
		b.T.Errorf("a link: %+v, %v", stat, err)
	}
	if stat, err = copier.StatPath(ctx, b.ID, "/var/tree/program"); err != nil || !stat.Mode.IsRegular() || stat.Size != 1<<20 {
		b.T.Errorf("a file: %+v, %v", stat, err)
	}
	// An input that breaks off is no end.
	r, w := io.Pipe()
	w.CloseWithError(errors.New("its client is gone"))
	bounded, cancel := context.WithTimeout(ctx, fixture.Patience)
	defer cancel()
	if err := copier.CopyIn(bounded, b.ID, "/var", r); err == nil {
		b.T.Error("an archive that broke off was taken for a whole one")
	}
}

func emptyArchive() io.Reader { return bytes.NewReader(make([]byte, 1024)) }

// shareStays: nothing is copied into the share.
func shareStays(b *fixture.Box, copier drivers.Copier) {
	b.T.Helper()
	evil := filepath.Join(b.T.TempDir(), "evil")
	if err := os.WriteFile(evil, []byte("evil"), 0o644); err != nil {
		b.T.Fatal(err)
	}
	for _, dir := range []string{drivers.AuthDir, drivers.AuthDir + "/..data", drivers.AuthDir + "/../auth/."} {
		var archive bytes.Buffer
		if _, err := tree.Pack(&archive, evil, "evil", tree.PackOptions{}); err != nil {
			b.T.Fatal(err)
		}
		if err := copier.CopyIn(b.T.Context(), b.ID, dir, &archive); err == nil {
			b.T.Errorf("something was copied into %s", dir)
		}
	}
	err := filepath.WalkDir(b.Share.AuthDir(), func(file string, _ fs.DirEntry, err error) error {
		if filepath.Base(file) == "evil" {
			b.T.Errorf("%s is in the share", file)
		}
		return err
	})
	if err != nil {
		b.T.Error(err)
	}
}

// launches: a command that nobody is connected to goes on; one that can't be run has its
// code.
func launches(b *fixture.Box) {
	b.T.Helper()
	launcher, ok := b.Driver.(drivers.Launcher)
	if !ok {
		b.T.Fatal("this driver can't launch")
	}
	ctx := b.T.Context()
	for command, want := range map[string]int{"/no/such": 127, "no-such": 127, "/etc": 126} {
		code, err := launcher.Launch(ctx, b.ID, drivers.Process{Args: []string{command}})
		if code != want || err == nil {
			b.T.Errorf("%s: %d, %v; wanted %d", command, code, err, want)
		}
	}
	script := "echo lost; echo lost >&2; while [ ! -e /tmp/go ]; do sleep 0.1; done; touch /tmp/gone"
	if code, err := launcher.Launch(ctx, b.ID, drivers.Process{Args: []string{"sh", "-c", script}}); code != 0 || err != nil {
		b.T.Fatalf("launch: %d, %v", code, err)
	}
	b.Exec(drivers.Process{Args: []string{"touch", "/tmp/go"}}, false).Rest()
	b.Suite.Eventually(b.T, func() error {
		if _, code := b.Exec(drivers.Process{Args: []string{"test", "-e", "/tmp/gone"}}, false).Rest(); code != 0 {
			return errors.New("a launched command does not go on")
		}
		return nil
	})
}
