package gateway

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
)

// surveyor is an engine with containers of the user's own.
type surveyor struct {
	*fake
	mounting []drivers.Mounting
	err      error
}

func (s *surveyor) Mounting(_ context.Context, dir string) ([]drivers.Mounting, error) {
	var inside []drivers.Mounting
	for _, m := range s.mounting {
		if strings.HasPrefix(m.Source, dir+"/") {
			inside = append(inside, m)
		}
	}
	return inside, s.err
}

// A container that has a single file of a share mounted is told of, by its
// name; one that has the directory is right.
func TestStrayContainers(t *testing.T) {
	engine, broken := &surveyor{fake: newFake("fake")}, &surveyor{fake: newFake("broken"), err: errors.New("no engine")}
	w := newWorld(t, engine, broken)
	w.run()
	s, err := w.client.CreateShare(t.Context(), api.ShareRequest{Name: "agent"})
	w.must(err)
	engine.mounting = []drivers.Mounting{
		{Object: "right", Source: s.Dir, Target: drivers.AuthDir},
		{Object: "stranded\x1b[31m", Source: s.Dir + "/sandbox.jwt", Target: "/token"},
	}
	s, err = w.client.Share(t.Context(), "agent")
	w.must(err)
	all := strings.Join(s.Warnings, "\n")
	if len(s.Warnings) != 1 || !strings.Contains(all, "stranded") || !strings.Contains(all, "/token") || strings.Contains(all, "\x1b") {
		t.Errorf("warnings %q", s.Warnings)
	}
	list, err := w.client.Shares(t.Context())
	w.must(err)
	if len(list) != 1 || len(list[0].Warnings) != 0 {
		t.Errorf("a list asks no engine: %+v", list)
	}
}

// A process that has a file of the share mounted is found without any engine,
// also once the file's generation is gone.
func TestStrayProcesses(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	auth, elsewhere := filepath.Join(dir, "auth"), filepath.Join(dir, "elsewhere")
	for _, d := range []string{auth + "/..gen-00000001", elsewhere} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{auth + "/..gen-00000001/sandbox.jwt", elsewhere + "/token"} {
		if err := os.WriteFile(f, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if found := processMounts(auth); len(found) != 0 {
		t.Errorf("before anything is mounted: %+v", found)
	}
	cmd := exec.Command("sh", "-ec", `mount --bind "$0/..gen-00000001/sandbox.jwt" "$1/token"; mount --bind "$0" "$1"; echo ready; read x`, auth, elsewhere)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}, GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skipf("no user namespace can be made here: %v", err)
	}
	defer func() { stdin.Close(); _ = cmd.Wait() }()
	if _, err := io.ReadFull(stdout, make([]byte, len("ready\n"))); err != nil {
		t.Skip("nothing can be mounted in a user namespace here")
	}
	check := func(source string) {
		t.Helper()
		found := processMounts(auth)
		if len(found) != 1 || found[0].source != source || found[0].pid != cmd.Process.Pid || found[0].target != elsewhere+"/token" {
			t.Errorf("%+v, wanted %s in process %d", found, source, cmd.Process.Pid)
		}
	}
	check("..gen-00000001/sandbox.jwt")
	if err := os.RemoveAll(auth + "/..gen-00000001"); err != nil {
		t.Fatal(err)
	}
	check("..gen-00000001/sandbox.jwt (deleted)")
}
