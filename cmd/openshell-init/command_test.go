package main

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"openshell-vm/internal/vocab"
)

func TestMergeEnv(t *testing.T) {
	got := mergeEnv([]string{"A=1", "B=2"}, []string{"B=3", "C=", "A=x=y", "A=4", "ODD"})
	want := []string{"A=4", "B=3", "C=", "ODD"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWithDefaults(t *testing.T) {
	env := withDefaults(vocab.Process{Terminal: true, Env: []string{"PATH=/opt", "X=1"}}, "/home/jo")
	for key, want := range map[string]string{"PATH": "/opt", "HOME": "/home/jo", "TERM": "xterm", "X": "1"} {
		if got := getenv(env, key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	env = withDefaults(vocab.Process{Env: []string{"HOME=/"}}, "/root")
	if getenv(env, "HOME") != "/" || getenv(env, "PATH") != defaultPath || getenv(env, "TERM") != "" {
		t.Errorf("the environment is %q", env)
	}
}

func TestInherit(t *testing.T) {
	workload := vocab.Process{Args: []string{"main"}, User: "jo", Dir: "/srv", Env: []string{"A=1", "B=1"}, Terminal: true}
	got := inherit(vocab.Process{Args: []string{"ls"}, Env: []string{"B=2"}}, workload)
	want := vocab.Process{Args: []string{"ls"}, User: "jo", Dir: "/srv", Env: []string{"A=1", "B=2"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	own := vocab.Process{Args: []string{"ls"}, User: "0", Dir: "/"}
	if got := inherit(own, workload); got.User != "0" || got.Dir != "/" {
		t.Errorf("what the exec says was lost: %+v", got)
	}
}

func TestLookPath(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"a/tool": 0o644, "b/tool": 0o755, "a/plain": 0o644} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "a/dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "a") + ":" + filepath.Join(dir, "b") + ":/nowhere"
	for _, c := range []struct {
		name, want string
		code       int
	}{
		{"tool", filepath.Join(dir, "b/tool"), 0},
		{"./tool", "./tool", 0},
		{"/no/such", "/no/such", 0}, // the kernel will say so
		{"plain", "", codeNotExecutable},
		{"dir", "", codeNotExecutable},
		{"missing", "", codeNotFound},
	} {
		got, err := lookPath(c.name, path)
		var refused *notRunnable
		if errors.As(err, &refused) != (c.code != 0) || c.code != 0 && refused.code != c.code || got != c.want {
			t.Errorf("%s: %q, %v; want %q, code %d", c.name, got, err, c.want, c.code)
		}
	}
}

func TestExecError(t *testing.T) {
	for err, want := range map[error]int{
		unix.ENOENT: codeNotFound, unix.ENOTDIR: codeNotFound, unix.EACCES: codeNotExecutable, unix.ENOEXEC: codeNotExecutable,
	} {
		if got := refusal(execError("tool", command{file: "/dev/null"}, err)); got.code != want || !strings.Contains(got.reason, err.Error()) {
			t.Errorf("%v: %+v, want code %d", err, got, want)
		}
	}
	missing := refusal(execError("./tool", command{file: "tool", dir: "/no/such"}, unix.ENOENT))
	if want := `exec: "./tool": stat /no/such/tool: no such file or directory`; missing.reason != want {
		t.Errorf("a missing program: %q, want %q", missing.reason, want)
	}
	if got := refusal(unix.EMFILE); got.code != codeNotExecutable || got.reason == "" {
		t.Errorf("another error gives %+v", got)
	}
}

func TestResolveRefuses(t *testing.T) {
	for _, p := range []vocab.Process{
		{Args: []string{"true"}, User: "no such user here"},
		{Args: []string{"true"}, Dir: "/no/such/directory"},
		{Args: []string{"true"}, Dir: "/dev/null"},
	} {
		if _, err := resolve(p); refusal(err).code != codeNotExecutable {
			t.Errorf("%+v: %v", p, err)
		}
	}
	c, err := resolve(vocab.Process{Args: []string{"/bin/true"}, User: "4321:8765", Dir: "/tmp"})
	if err != nil {
		t.Fatal(err)
	}
	if c.cred.Uid != 4321 || c.cred.Gid != 8765 || !slices.Equal(c.cred.Groups, []uint32{8765}) || c.dir != "/tmp" || getenv(c.env, "HOME") != "/" {
		t.Errorf("resolved to %+v", c)
	}
}

func TestExitCode(t *testing.T) {
	for status, want := range map[unix.WaitStatus]int{0: 0, 7 << 8: 7, 255 << 8: 255, 9: 137, 15: 143, 11 | 0x80: 139} {
		if got := exitCode(status); got != want {
			t.Errorf("status %#x is %d, want %d", uint32(status), got, want)
		}
	}
}

// TestReadPlain checks that readPlain neither waits nor fails, whatever is in a file's
// place.
func TestReadPlain(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	for _, err := range []error{
		os.WriteFile(in("file"), []byte("root:x:0:0::/:/bin/sh\n"), 0o644), os.Symlink("file", in("link")),
		unix.Mkfifo(in("fifo"), 0o600), os.Mkdir(in("directory"), 0o755), os.Symlink("loop", in("loop")),
		os.WriteFile(in("huge"), nil, 0o644), os.Truncate(in("huge"), 1<<40),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]int{
		"file": 22, "link": 22, "fifo": 0, "directory": 0, "loop": 0, "missing": 0, "huge": maxPlain,
	} {
		if got := len(readPlain(in(name))); got != want {
			t.Errorf("%s: %d bytes, not %d", name, got, want)
		}
	}
}
