package share

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// patience bounds one wait for something to happen. It is generous: nothing here
// promises speed, and other tests keep the machine busy.
const patience = 2 * time.Minute

// childEnv names the function that a child process runs. Tests that need another process
// start this binary again.
const childEnv = "SHARE_TEST_CHILD"

var children = map[string]func(args []string) error{
	"publish": childPublish,
	"hammer":  childHammer,
	"umasks":  childUmasks,
	"full":    childFull,
	"reserve": childReserve,
	"hog":     childHog,
	"stuck":   childStuck,
}

func TestMain(m *testing.M) {
	f, ok := children[os.Getenv(childEnv)]
	if !ok {
		os.Exit(m.Run())
	}
	if err := f(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// child makes a command that runs this binary as another process.
func child(t testing.TB, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), childEnv+"="+name)
	return cmd
}

// runChild fails the test if the child does.
func runChild(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
}

var plainOptions = Options{}

// newTestShare makes a share on a tmpfs, if there is one. A durable share is on disk.
func newTestShare(t testing.TB, opts Options) *Share {
	t.Helper()
	dir := t.TempDir()
	if !opts.Durable {
		dir = fastDir(t)
	}
	s, err := Create(filepath.Join(dir, "s"), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removable(filepath.Dir(s.Dir())) })
	return s
}

// fastDir makes a directory that an ordinary user can reach, on a tmpfs if there is one.
func fastDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "share-test-")
	if err != nil {
		dir, err = os.MkdirTemp("", "share-test-")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// removable makes a tree's read-only directories writable, so that a user other than
// root can remove it.
func removable(path string) {
	filepath.WalkDir(path, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			os.Chmod(path, 0o755)
		}
		return nil
	})
}

// with returns a build function that always returns the same files.
func with(files ...File) func(uint64) ([]File, error) {
	return func(uint64) ([]File, error) { return files, nil }
}

// proven makes content that names its generation and has a checksum.
func proven(generation uint64, name string) []byte {
	body := fmt.Sprintf("%d %s %s", generation, name, strings.Repeat("x", int(generation%977)))
	return fmt.Appendf(nil, "%x %s", sha256.Sum256([]byte(body)), body)
}

// generationOf checks content made by proven and returns its generation.
func generationOf(data []byte, name string) (uint64, error) {
	var sum, got string
	var n uint64
	if _, err := fmt.Sscan(string(data), &sum, &n, &got); err != nil {
		return 0, fmt.Errorf("torn: %q", data)
	}
	if string(proven(n, name)) != string(data) {
		return 0, fmt.Errorf("torn: %q", data)
	}
	return n, nil
}

// provenFiles builds files whose content is proven.
func provenFiles(names ...string) func(uint64) ([]File, error) {
	return func(n uint64) ([]File, error) {
		var files []File
		for _, name := range names {
			files = append(files, File{Name: name, Data: proven(n, name)})
		}
		return files, nil
	}
}

func mustPublish(t testing.TB, s *Share, build func(uint64) ([]File, error)) Published {
	t.Helper()
	p, err := s.Publish(t.Context(), 0, build)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// wantFiles checks the current generation, with Read and by the names that a sandbox
// opens.
func wantFiles(t testing.TB, s *Share, want ...File) {
	t.Helper()
	got, err := Read(s.AuthDir())
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Files) != len(want) {
		t.Errorf("generation %d has %d files, want %d", got.Generation, len(got.Files), len(want))
	}
	for _, f := range want {
		if string(got.Files[f.Name]) != string(f.Data) {
			t.Errorf("Read gives %q for %s, want %q", got.Files[f.Name], f.Name, f.Data)
		}
		data, err := os.ReadFile(filepath.Join(s.AuthDir(), f.Name))
		if err != nil || string(data) != string(f.Data) {
			t.Errorf("opening %s gives %q, %v; want %q", f.Name, data, err, f.Data)
		}
	}
}

// entries lists auth/.
func entries(t testing.TB, s *Share) []string {
	t.Helper()
	list, err := os.ReadDir(s.AuthDir())
	if err != nil {
		t.Fatal(err)
	}
	names := make([]string, len(list))
	for i, e := range list {
		names[i] = e.Name()
	}
	return names
}

func wantEntries(t testing.TB, s *Share, want ...string) {
	t.Helper()
	slices.Sort(want)
	if got := entries(t, s); !slices.Equal(got, want) {
		t.Errorf("auth/ holds\n%q, want\n%q", got, want)
	}
}

// need skips the test because something is missing. It fails the test if none may be
// skipped.
func need(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("E2E_REQUIRE") == "1" {
		t.Fatal("needs " + what)
	}
	t.Skip("needs " + what)
}

// eventually waits for a condition with a deadline.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// is compares the result of a publish, without its warning.
func (p Published) is(generation uint64, changed bool) bool {
	return p.Generation == generation && p.Changed == changed && p.Warning == nil
}
