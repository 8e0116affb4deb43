package watching

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"openshell-vm/cmd/openshell-vm/say"
)

func lead(t *testing.T, auth, target string) {
	t.Helper()
	next := filepath.Join(auth, "..new")
	if err := errors.Join(os.Symlink(target, next), os.Rename(next, filepath.Join(auth, "..data"))); err != nil {
		t.Fatal(err)
	}
}

// watched is a share, and a program that is run with it. It says lines into a file.
type watched struct {
	*testing.T
	auth, out string
	end       chan string
}

func run(t *testing.T, sig syscall.Signal, script string) *watched {
	t.Helper()
	w := &watched{t, t.TempDir(), filepath.Join(t.TempDir(), "out"), make(chan string, 1)}
	lead(t, w.auth, "..gen-00000001")
	go func() {
		code, err := Run(t.Context(), w.auth, Program{Args: []string{"/bin/sh", "-c", "exec >>" + w.out + "; " + script}, Signal: sig, Stderr: t.Output()})
		w.end <- fmt.Sprint(code, err)
	}()
	return w
}

// says waits until the program's lines are these.
func (w *watched) says(lines string) {
	w.Helper()
	var text []byte
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if text, _ = os.ReadFile(w.out); strings.Join(strings.Fields(string(text)), " ") == lines {
			return
		}
	}
	w.Fatalf("it says %q, wanted %q", text, lines)
}

func (w *watched) ends(as string) {
	w.Helper()
	select {
	case got := <-w.end:
		if got != as {
			w.Errorf("it ended with %s, wanted %s", got, as)
		}
	case <-time.After(time.Minute):
		w.Error("it does not end")
	}
}

func me(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(os.Getpid(), sig); err != nil {
		t.Fatal(err)
	}
}

// TestRestart: at a new generation the program is ended and started again. When it is asked to end
// it is not, and a program that heeds nothing is no reason to run two.
func TestRestart(t *testing.T) {
	w := run(t, 0, "echo start; trap 'echo end; exit 4' TERM; while :; do sleep 0.02; done")
	w.says("start")
	lead(t, w.auth, "..gen-00000002")
	w.says("start end start")
	me(t, syscall.SIGTERM)
	w.ends("4 <nil>")
	w.says("start end start end")
}

// TestSignal: it is signalled in place of that, and gets the signals that are sent to us.
func TestSignal(t *testing.T) {
	w := run(t, syscall.SIGHUP, "trap 'echo hup' HUP; trap 'echo usr; kill -9 $$' USR1; echo start; while :; do sleep 0.02; done")
	w.says("start")
	lead(t, w.auth, "..gen-00000002")
	w.says("start hup")
	if err := os.Remove(filepath.Join(w.auth, "..data")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	lead(t, w.auth, "..gen-00000003")
	w.says("start hup hup")
	me(t, syscall.SIGUSR1)
	w.ends("137 <nil>")
}

func TestEndsByItself(t *testing.T) {
	run(t, 0, "exit 3").ends("3 <nil>")
	for name, want := range map[string]say.Exit{"/nosuch": 127, "nosuch-program": 127, "/etc/passwd": 126} {
		w := &watched{T: t, auth: t.TempDir()}
		lead(t, w.auth, "..gen-00000001")
		if _, err := Run(t.Context(), w.auth, Program{Args: []string{name}, Stderr: t.Output()}); !errors.Is(err, want) {
			t.Errorf("%s: %v, wanted %v", name, err, want)
		}
	}
	if _, err := Run(t.Context(), t.TempDir(), Program{Args: []string{"true"}, Stderr: t.Output()}); err == nil {
		t.Error("a directory that is no share is watched")
	}
}
