package place

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"openshell-vm/drivers"
)

// An engine that can't be reached is named with its address and what named it;
// the hint is for that.
func TestPlace(t *testing.T) {
	hints := Hints{Missing: "install", Denied: "join", Dead: "start"}
	dir := t.TempDir()
	alive, dead, absent := filepath.Join(dir, "alive"), filepath.Join(dir, "dead"), filepath.Join(dir, "absent")
	l, err := net.Listen("unix", alive)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	d, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	d.SetUnlinkOnClose(false)
	d.Close()
	at := func(host, from string) Place { return Place{Engine: "Docker", Host: host, From: from, Hints: hints} }
	refused := fmt.Errorf("dial: %w", &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)})
	for _, c := range []struct {
		err        error
		says, hint string
	}{
		{at("unix://"+alive, FromDefault).Dial("x"), "", ""},
		{at("tcp://127.0.0.1:1", FromDefault).Dial("x"), "", ""},
		{at("unix://"+dead, FromVariable("DOCKER_HOST")).Dial(""),
			"cannot connect to Docker at unix://" + dead + " (from DOCKER_HOST): nothing listens there",
			"correct or unset DOCKER_HOST, then openshell-vm gateway restart; or start"},
		{at("unix://"+absent, FromDefault).Dial("start it"),
			"start it: cannot connect to Docker at unix://" + absent + " (the default): the socket does not exist", "install"},
		{at("unix://"+absent, `from docker context "mine"`).Dial(""),
			"cannot connect to Docker at unix://" + absent + ` (from docker context "mine"): the socket does not exist`, "install"},
		{at("unix://"+alive, FromDefault).Unreachable("ask", errors.New("EOF")),
			"ask: Docker at unix://" + alive + " (the default) broke off: EOF", "start"},
		{at("unix://"+dead, FromDefault).Unreachable("ask", errors.New("EOF")),
			"ask: cannot connect to Docker at unix://" + dead + " (the default): nothing listens there", "start"},
		{at("tcp://127.0.0.1:1", FromVariable("DOCKER_HOST")).Unreachable("ask", refused),
			"ask: cannot connect to Docker at tcp://127.0.0.1:1 (from DOCKER_HOST): connection refused",
			"correct or unset DOCKER_HOST, then openshell-vm gateway restart; or check that an engine listens there, and its certificates"},
		{at("unix://"+alive, FromDefault).Late("list them", context.DeadlineExceeded),
			"list them: Docker at unix://" + alive + " (the default) does not answer in time",
			"see whether `docker ps` answers; if not, restart the engine"},
	} {
		switch {
		case c.says == "" && c.err != nil:
			t.Errorf("%v", c.err)
		case c.says != "" && (c.err == nil || c.err.Error() != c.says || drivers.HintOf(c.err) != c.hint):
			t.Errorf("%v, hint %q, wanted\n%s, hint %q", c.err, drivers.HintOf(c.err), c.says, c.hint)
		}
	}
	if err := at("unix:///x", FromDefault).Late("x", context.DeadlineExceeded); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the cause is lost: %v", err)
	}
	if os.Getuid() != 0 {
		if err := os.Chmod(alive, 0); err != nil {
			t.Fatal(err)
		}
		if err := at("unix://"+alive, FromDefault).Dial("connect"); drivers.HintOf(err) != "join" {
			t.Errorf("closed to us: %v", err)
		}
	}
	if got := FirstListening(dead, alive); got != alive {
		t.Errorf("%s listens", got)
	}
	if got := FirstListening(dead, dir); got != dead {
		t.Errorf("none listens, and %s was taken", got)
	}
	if got := at("unix://run/x.sock", "").Socket(); got != "/run/x.sock" {
		t.Errorf("with two slashes: %s", got)
	}
}
