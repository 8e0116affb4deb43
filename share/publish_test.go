package share

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"openshell-vm/share/layout"
)

func TestPublishMakesAllFilesCurrentAtOnce(t *testing.T) {
	s := newTestShare(t, plainOptions)
	if _, err := Read(s.AuthDir()); !errors.Is(err, ErrUnpublished) {
		t.Errorf("Read before the first publish gives %v", err)
	}
	first := mustPublish(t, s, provenFiles("token", "meta"))
	if !first.is(1, true) {
		t.Errorf("first publish gives %+v", first)
	}
	wantFiles(t, s, File{Name: "token", Data: proven(1, "token")}, File{Name: "meta", Data: proven(1, "meta")})
	wantEntries(t, s, "token", "meta", "..data", "..gen-00000001", "..is-00000001")

	if second := mustPublish(t, s, provenFiles("token", "meta")); !second.is(2, true) {
		t.Errorf("second publish gives %+v", second)
	}
	wantFiles(t, s, File{Name: "token", Data: proven(2, "token")}, File{Name: "meta", Data: proven(2, "meta")})
	wantEntries(t, s, "token", "meta", "..data", "..gen-00000001", "..is-00000001", "..gen-00000002", "..is-00000002")
	if n, err := s.Current(); n != 2 || err != nil {
		t.Errorf("Current gives %d, %v", n, err)
	}
}

func TestLinksAreRelative(t *testing.T) {
	s := newTestShare(t, plainOptions)
	mustPublish(t, s, provenFiles("token"))
	for name, want := range map[string]string{"token": "..data/token", "..data": "..gen-00000001"} {
		if got, err := os.Readlink(filepath.Join(s.AuthDir(), name)); got != want {
			t.Errorf("%s links to %q, %v; want %q", name, got, err, want)
		}
	}
}

func TestNamesComeAndGo(t *testing.T) {
	s := newTestShare(t, Options{Grace: time.Nanosecond})
	a, b, c := File{Name: "a", Data: []byte("1")}, File{Name: "b", Data: []byte("2")}, File{Name: "c", Data: nil}
	mustPublish(t, s, with(a, b))
	mustPublish(t, s, with(b, c))
	wantFiles(t, s, b, c)
	wantEntries(t, s, "b", "c", "..data", "..gen-00000002", "..is-00000002")
}

func TestUnchangedContentIsNotPublishedAgain(t *testing.T) {
	s := newTestShare(t, plainOptions)
	a, b := File{Name: "a", Data: []byte("1")}, File{Name: "b", Data: []byte("2")}
	mustPublish(t, s, with(a, b))
	before := entries(t, s)
	if again := mustPublish(t, s, with(b, a)); !again.is(1, false) {
		t.Errorf("the same content again gives %+v", again)
	}
	wantEntries(t, s, before...)

	// A skipped publish takes no number: a guest waits for the next one.
	for i, changed := range [][]File{
		{a, {Name: "b", Data: []byte("3")}},  // content
		{a, {Name: "b", Data: []byte("33")}}, // size
		{a},                                  // one less
		{a, b},                               // one more
		{a, {Name: "c", Data: []byte("2")}},  // another name
		{{Name: "a", Data: []byte("2")}, {Name: "c", Data: []byte("1")}}, // swapped
	} {
		if got := mustPublish(t, s, with(changed...)); !got.is(uint64(i+2), true) {
			t.Errorf("change %d gives %+v", i, got)
		}
	}
}

func TestChangedModeIsAChange(t *testing.T) {
	s := newTestShare(t, plainOptions)
	a := File{Name: "a", Data: []byte("1")}
	mustPublish(t, s, with(a))
	for i, opts := range []Options{
		{FileMode: 0o400},
		{FileMode: 0o400, DirMode: 0o500},
		{Owner: &Owner{os.Geteuid(), os.Getegid()}, FileMode: 0o400, DirMode: 0o500},
	} {
		again, err := Open(s.Dir(), opts)
		if err != nil {
			t.Fatal(err)
		}
		want := i < 2 // the last one only says what is so already
		if got := mustPublish(t, again, with(a)); got.Changed != want {
			t.Errorf("options %d: %+v", i, got)
		}
		wantModes(t, again)
	}
}

// wantModes checks owner and mode of everything that a sandbox can see.
func wantModes(t testing.TB, s *Share) {
	t.Helper()
	if err := checkModes(s); err != nil {
		t.Error(err)
	}
}

func checkModes(s *Share) error {
	check := func(path string, want owner) error {
		var st syscall.Stat_t
		if err := syscall.Lstat(path, &st); err != nil {
			return err
		}
		if st.Mode&0o7777 != want.mode || want.uid != keep && int(st.Uid) != want.uid || want.gid != keep && int(st.Gid) != want.gid {
			return &Error{Op: "check", Path: path, Err: errors.New(fs.FileMode(st.Mode & 0o7777).String())}
		}
		return nil
	}
	if err := check(s.AuthDir(), s.authOwner()); err != nil {
		return err
	}
	n, err := s.Current()
	if err != nil {
		return err
	}
	gen := filepath.Join(s.AuthDir(), layout.Generation(n))
	return errors.Join(
		check(s.Dir(), owner{os.Geteuid(), keep, 0o700}),
		check(filepath.Join(s.Dir(), layout.Lock), owner{os.Geteuid(), keep, 0o600}),
		check(gen, s.dirOwner()),
		check(filepath.Join(gen, "a"), s.fileOwner()),
		check(filepath.Join(s.AuthDir(), layout.Announcement(n)), s.fileOwner()),
	)
}

func TestOwnerIsPublished(t *testing.T) {
	if os.Geteuid() != 0 {
		need(t, "root, to give files away")
	}
	s := newTestShare(t, Options{Owner: &Owner{1234, 2345}, DirMode: 0o500, FileMode: 0o400})
	mustPublish(t, s, with(File{Name: "a", Data: []byte("1")}))
	wantModes(t, s)
	other, err := Open(s.Dir(), Options{Owner: &Owner{}})
	if !errors.Is(err, ErrOwner) {
		t.Errorf("opening it as a share of root's gives %v, %v", other, err)
	}
}

func TestFloor(t *testing.T) {
	s := newTestShare(t, plainOptions)
	for _, step := range []struct{ floor, want uint64 }{{1000, 1000}, {0, 1001}, {1001, 1002}, {2000, 2000}} {
		p, err := s.Publish(t.Context(), step.floor, provenFiles("a"))
		if err != nil || p.Generation != step.want {
			t.Errorf("floor %d gives %+v, %v; want %d", step.floor, p, err, step.want)
		}
	}
	_, err := s.Publish(t.Context(), MaxGeneration+1, provenFiles("a"))
	if !errors.Is(err, ErrExhausted) {
		t.Errorf("beyond the last number: %v", err)
	}
	wantFiles(t, s, File{Name: "a", Data: proven(2000, "a")})
}

// TestSkippedNumbersAreAnnounced publishes generation 10 after 1. Number 2 has to be
// announced too: a guest that sees generation N looks for the announcement of N+1.
func TestSkippedNumbersAreAnnounced(t *testing.T) {
	s := newTestShare(t, plainOptions)
	mustPublish(t, s, provenFiles("a"))
	if _, err := s.Publish(t.Context(), 10, provenFiles("a")); err != nil {
		t.Fatal(err)
	}
	wantEntries(t, s, "a", "..data", "..gen-00000001", "..gen-00000010", "..is-00000001", "..is-00000002", "..is-00000010")
	if err := s.Repair(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Prune(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	mustPublish(t, s, provenFiles("a"))
	if _, err := s.Prune(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	wantEntries(t, s, "a", "..data", "..gen-00000011", "..is-00000011")
}

func TestFailedBuildChangesNothing(t *testing.T) {
	s := newTestShare(t, plainOptions)
	mustPublish(t, s, provenFiles("a"))
	before := entries(t, s)
	broken := errors.New("no key")
	p, err := s.Publish(t.Context(), 0, func(uint64) ([]File, error) { return nil, broken })
	if !errors.Is(err, broken) || p != (Published{}) {
		t.Errorf("got %+v, %v", p, err)
	}
	wantEntries(t, s, before...)
	if p := mustPublish(t, s, provenFiles("a")); p.Generation != 2 {
		t.Errorf("the number was lost: %+v", p)
	}
}

func TestPanickingBuildUnlocks(t *testing.T) {
	s := newTestShare(t, plainOptions)
	func() {
		defer func() { recover() }()
		s.Publish(t.Context(), 0, func(uint64) ([]File, error) { panic("build") })
	}()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := s.Publish(ctx, 0, provenFiles("a")); err != nil {
		t.Error(err)
	}
}

func TestErrorsHoldNoContent(t *testing.T) {
	s := newTestShare(t, plainOptions)
	const secret = "eyJhbGciOi"
	_, err := s.Publish(t.Context(), 0, with(File{Name: "a", Data: []byte(secret)}, File{Name: "b/", Data: []byte(secret)}))
	if err == nil || strings.Contains(err.Error(), secret) {
		t.Errorf("got %v", err)
	}
}

func TestCreateCompletesAndNeverReplaces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	if err := os.Mkdir(path, 0o700); err != nil { // a Create that was killed early
		t.Fatal(err)
	}
	s, err := Create(path, plainOptions)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removable(path) })
	before, err := os.Stat(s.AuthDir())
	if err != nil {
		t.Fatal(err)
	}
	a := File{Name: "a", Data: []byte("1")}
	mustPublish(t, s, with(a))
	if s, err = Create(path, plainOptions); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		mustPublish(t, s, provenFiles("a"))
	}
	mustPublish(t, s, with(a))
	if err := s.Repair(t.Context()); err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(s.AuthDir())
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("auth/ is another directory now: %v", err)
	}
	wantFiles(t, s, a)
}

func TestOpenRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(path string) error
		want  error
	}{
		"share open to group":    {func(p string) error { return os.Chmod(p, 0o750) }, ErrMode},
		"share open to others":   {func(p string) error { return os.Chmod(p, 0o701) }, ErrMode},
		"auth writable by group": {func(p string) error { return os.Chmod(p+"/auth", 0o775) }, ErrMode},
		"auth world-writable":    {func(p string) error { return os.Chmod(p+"/auth", 0o777) }, ErrMode},
		"no auth":                {func(p string) error { return os.Remove(p + "/auth") }, fs.ErrNotExist},
		"no share":               {func(p string) error { return os.RemoveAll(p) }, fs.ErrNotExist},
		"auth is a file": {func(p string) error {
			return errors.Join(os.Remove(p+"/auth"), os.WriteFile(p+"/auth", nil, 0o600))
		}, syscall.ENOTDIR},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTestShare(t, plainOptions)
			if err := c.spoil(s.Dir()); err != nil {
				t.Fatal(err)
			}
			_, err := Open(s.Dir(), plainOptions)
			if !errors.Is(err, c.want) {
				t.Errorf("Open gives %v, want %v", err, c.want)
			}
			var typed *Error
			if _, err := s.Publish(t.Context(), 0, provenFiles("a")); !errors.Is(err, c.want) || !errors.As(err, &typed) {
				t.Errorf("Publish gives %v, want %v", err, c.want)
			}
			_ = os.Chmod(s.Dir(), 0o700)
		})
	}
}

func TestLockMustBeAFile(t *testing.T) {
	s := newTestShare(t, plainOptions)
	lock := filepath.Join(s.Dir(), layout.Lock)
	if err := errors.Join(os.Remove(lock), syscall.Mkfifo(lock, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Publish(t.Context(), 0, provenFiles("a")); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("a FIFO as the lock gives %v", err)
	}
}

func TestOpenRefusesForeignOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		need(t, "root, to make a directory of another user")
	}
	for _, dir := range []string{"", "auth"} {
		s := newTestShare(t, plainOptions)
		path := filepath.Join(s.Dir(), dir)
		if err := os.Chown(path, 1234, -1); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(s.Dir(), plainOptions); !errors.Is(err, ErrOwner) {
			t.Errorf("%q of another user: %v", dir, err)
		}
		if _, err := s.Publish(t.Context(), 0, provenFiles("a")); !errors.Is(err, ErrOwner) {
			t.Errorf("publish to %q of another user: %v", dir, err)
		}
		if err := os.Chown(path, 0, -1); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOptionsThatLetOthersWriteAreRefused(t *testing.T) {
	for _, opts := range []Options{{FileMode: 0o664}, {DirMode: 0o757}, {FileMode: 0o4444}, {DirMode: fs.ModeSticky | 0o755}} {
		if _, err := Create(filepath.Join(t.TempDir(), "s"), opts); !errors.Is(err, ErrMode) {
			t.Errorf("%v gives %v", opts, err)
		}
	}
}

func TestRemove(t *testing.T) {
	s := newTestShare(t, plainOptions)
	mustPublish(t, s, provenFiles("a", "b"))
	for range 2 {
		if err := s.Remove(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Lstat(s.Dir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the share is still there: %v", err)
	}
	if _, err := s.Publish(t.Context(), 0, provenFiles("a")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("publishing to it gives %v", err)
	}
}

func TestRemoveOfHalfMadeShare(t *testing.T) {
	s := newTestShare(t, plainOptions)
	if err := os.Remove(s.AuthDir()); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestStepsComeInOrder(t *testing.T) {
	var seen []int
	s := newTestShare(t, Options{Step: func(n int) { seen = append(seen, n) }})
	mustPublish(t, s, provenFiles("a", "b"))
	want := []int{1, 2, 3, 4, 5, 6, 7, 7, 8, 9, 10, 11, 12, 12, 13, 14, 15}
	if !slices.Equal(seen, want) {
		t.Errorf("steps %v, want %v", seen, want)
	}
}
