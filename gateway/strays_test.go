package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/shares"
)

// surveyor is an engine with containers of the user's own.
type surveyor struct {
	*fake
	mounting []drivers.Mounting
	silent   atomic.Bool  // as an engine that hangs
	asked    atomic.Int32 // how many wait for its answer
	err      error
}

func (s *surveyor) Mounting(ctx context.Context, dir string) ([]drivers.Mounting, error) {
	var inside []drivers.Mounting
	if s.silent.Load() {
		s.asked.Add(1)
		defer s.asked.Add(-1)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	for _, m := range s.mounting {
		if strings.HasPrefix(m.Source, dir+"/") {
			inside = append(inside, m)
		}
	}
	return inside, s.err
}

// A container that has a single file of a share mounted is warned of, by its name. One that
// has the directory mounted is not.
func TestStrayContainers(t *testing.T) {
	engine, broken := &surveyor{fake: newFake("fake")}, &surveyor{fake: newFake("broken"), err: errors.New("no engine")}
	w := newWorld(t, engine, broken)
	w.run()
	s, err := w.client.Shares.Create(t.Context(), api.ShareRequest{Name: "agent"})
	w.must(err)
	engine.mounting = []drivers.Mounting{
		{Object: "right", Source: s.Dir, Target: drivers.AuthDir},
		{Object: "stranded\x1b[31m", Source: s.Dir + "/sandbox.jwt", Target: "/token"},
	}
	s, err = w.client.Shares.Get(t.Context(), "agent")
	w.must(err)
	all := strings.Join(s.Warnings, "\n")
	if len(s.Warnings) != 1 || !strings.Contains(all, "stranded") || !strings.Contains(all, "/token") || strings.Contains(all, "\x1b") {
		t.Errorf("warnings %q", s.Warnings)
	}
	list, err := w.client.Shares.List(t.Context())
	w.must(err)
	if len(list) != 1 || len(list[0].Warnings) != 0 {
		t.Errorf("a list asks no engine: %+v", list)
	}
}

// A process that has a file of the share mounted is found without any engine, even after the
// file's generation was removed.
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
	own := shares.New(nil, nil, nil)
	if found := own.Strays(t.Context(), auth); len(found) != 0 {
		t.Errorf("before anything is mounted: %q", found)
	}
	pid, _ := mounting(t, `mount --bind "$0/..gen-00000001/sandbox.jwt" "$1/token"; mount --bind "$0" "$1"`, auth, elsewhere)
	check := func(source string) {
		t.Helper()
		found := own.Strays(t.Context(), auth)
		if len(found) != 1 || !strings.Contains(found[0], fmt.Sprintf("process %d (", pid)) ||
			!strings.Contains(found[0], fmt.Sprintf(") has %s mounted at %s/token, which", source, elsewhere)) {
			t.Errorf("%q, wanted %s in process %d", found, source, pid)
		}
	}
	check("..gen-00000001/sandbox.jwt")
	if err := os.RemoveAll(auth + "/..gen-00000001"); err != nil {
		t.Fatal(err)
	}
	check("..gen-00000001/sandbox.jwt (deleted)")
}

// mounting runs a script, which mounts something, in namespaces of its own, and goes on
// until end is called.
func mounting(t *testing.T, script string, args ...string) (pid int, end func()) {
	t.Helper()
	cmd := exec.Command("sh", append([]string{"-ec", script + "; echo ready; read x"}, args...)...)
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
	end = sync.OnceFunc(func() { stdin.Close(); _ = cmd.Wait() })
	t.Cleanup(end)
	if _, err := io.ReadFull(stdout, make([]byte, len("ready\n"))); err != nil {
		t.Skip("nothing can be mounted in a user namespace here")
	}
	return cmd.Process.Pid, end
}

// A share that something has mounted is not removed without force. The error says what has
// it mounted: a running container by its name, if an engine knows it.
func TestRemoveUsedShare(t *testing.T) {
	engine := &surveyor{fake: newFake("fake")}
	w := newWorld(t, engine)
	w.run()
	s := w.share(api.ShareRequest{Name: "agent"})
	elsewhere := t.TempDir()
	pid, end := mounting(t, `mount --bind "$0" "$1"`, s.Dir, elsewhere)
	remove := func(force bool) error { return w.client.Shares.Remove(t.Context(), "agent", force) }
	refused(t, remove(false), api.CodeConflict, fmt.Sprintf("the share agent is in use: process %d (sh) has it mounted at %s", pid, elsewhere))

	engine.mounting = []drivers.Mounting{
		{Object: "ended", Source: s.Dir, Target: drivers.AuthDir},
		{Object: "web\x1b[31m", Source: s.Dir, Target: drivers.AuthDir, Running: true},
	}
	err := remove(false)
	refused(t, err, api.CodeConflict, "container web")
	if text := err.Error(); strings.Contains(text, "ended") || strings.Contains(text, "\x1b") || strings.Contains(text, "process") {
		t.Errorf("%q", text)
	}
	if w.shareOf("agent").Token.Generation == 0 {
		t.Error("it lost its token")
	}
	end()
	refused(t, remove(false), api.CodeConflict, "container web") // in another pid namespace, say
	engine.mounting = nil

	engine.silent.Store(true)
	refused(t, remove(false), api.CodeConflict, "is not known: fake did not answer in time")
	gone, leave := context.WithCancel(t.Context())
	go func() {
		w.eventually("the engine is asked", func() bool { return engine.asked.Load() > 0 })
		leave()
	}()
	if err := w.client.Shares.Remove(gone, "agent", false); err == nil {
		t.Error("it was removed for somebody who had gone")
	}
	w.eventually("nobody waits for the engine", func() bool { return engine.asked.Load() == 0 })
	engine.silent.Store(false)
	if w.shareOf("agent").Token.Generation == 0 {
		t.Error("it lost its token")
	}
	w.must(remove(false))

	w.share(api.ShareRequest{Name: "agent"})
	_, end = mounting(t, `mount --bind "$0" "$1"`, s.Dir, elsewhere)
	defer end()
	w.must(remove(true))
}
