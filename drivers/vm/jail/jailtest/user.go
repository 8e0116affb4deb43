package jailtest

import (
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

const ordinaryUser = 1500

// AsBoth runs test as the current user. If that is root, it runs test once more as an
// ordinary user, in a process of its own. That process runs the whole test function that
// calls AsBoth, in / and with this environment.
func AsBoth(t *testing.T, test func(t *testing.T)) {
	if os.Geteuid() != 0 {
		t.Run("user", test)
		return
	}
	t.Run("root", test)
	t.Run("user", func(t *testing.T) {
		binary := filepath.Join(OpenDir(t), "test")
		CopyFile(t, Self(t), binary)
		parent, _, _ := strings.Cut(t.Name(), "/")
		cmd := exec.Command(binary, "-test.run=^"+parent+"$", "-test.v")
		cmd.Dir = "/"
		cmd.Env = append(os.Environ(), "TMPDIR="+userDir(t), "HOME=/")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{
			Uid: ordinaryUser, Gid: ordinaryUser, Groups: append([]uint32{ordinaryUser}, kvmGroup()...),
		}}
		out, err := cmd.CombinedOutput()
		t.Logf("%s", out)
		if err != nil {
			t.Errorf("as user %d: %v", ordinaryUser, err)
		}
	})
}

// OpenDir makes a temporary directory that everybody may enter.
func OpenDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "jail")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// userDir makes a temporary directory that belongs to the ordinary user.
func userDir(t *testing.T) string {
	t.Helper()
	dir := OpenDir(t)
	if err := os.Chown(dir, ordinaryUser, ordinaryUser); err != nil {
		t.Fatal(err)
	}
	return dir
}

func kvmGroup() []uint32 {
	g, err := user.LookupGroup("kvm")
	if err != nil {
		return nil
	}
	id, err := strconv.ParseUint(g.Gid, 10, 32)
	if err != nil {
		return nil
	}
	return []uint32{uint32(id)}
}

// CopyFile makes an executable copy.
func CopyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	writeProgram(t, to, data)
}

// Self returns the path of the test binary.
func Self(t testing.TB) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return self
}
