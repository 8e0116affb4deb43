package daemon

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/explain"
	"openshell-vm/internal/procfs"
)

// TestUnitArgs checks that the unit gets the environment variables with paths, by name
// only, and that its end does not kill sandboxes.
func TestUnitArgs(t *testing.T) {
	unit := unitName("/home/x/.local/state/openshell-vm")
	if unit == unitName("/home/y/.local/state/openshell-vm") || !strings.HasSuffix(unit, ".service") {
		t.Errorf("unit %s", unit)
	}
	args := unitArgs(unit, "/usr/libexec/openshell-vm/openshell-gateway", "/tmp/x/refusals", []string{
		"SECRET=1", "XDG_STATE_HOME=/s", "PATH=/bin", "OPENSHELL_QEMU=/q", "DOCKER_HOST=tcp://user:pass@h", "HOME=/home/x", "LD_PRELOAD=/x",
	})
	want := []string{"--user", "--quiet", "--collect", "--unit=" + unit, "--description=openshell-vm gateway",
		"--property=Type=exec", "--property=Restart=always", "--property=RestartSec=100ms", "--property=StartLimitIntervalSec=0",
		"--property=RestartPreventExitStatus=0 3 125", "--property=KillMode=process", "--property=LimitCORE=0",
		"--setenv=DOCKER_HOST", "--setenv=HOME", "--setenv=OPENSHELL_QEMU", "--setenv=PATH", "--setenv=XDG_STATE_HOME",
		"--", "/usr/libexec/openshell-vm/openshell-gateway", "serve", "--restarted-by=systemd", "--refusals=/tmp/x/refusals"}
	if !slices.Equal(args, want) {
		t.Errorf("got  %q\nwant %q", args, want)
	}
}

// TestShippedUnit checks that the unit which users copy has the same settings as the unit
// that the gateway makes. KillMode=process spares the monitors in the unit's control
// group at a stop, a restart and an upgrade: see systemd.kill(5).
func TestShippedUnit(t *testing.T) {
	text, err := os.ReadFile("../../examples/openshell-gateway.service")
	if err != nil {
		t.Fatal(err)
	}
	section, settings := "", map[string]string{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if name, value, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") {
			settings[section+name] = value
		} else if strings.HasPrefix(line, "[") {
			section = line
		}
	}
	for name, want := range map[string]string{
		"[Service]KillMode": "process", "[Service]OOMPolicy": "continue", "[Service]LimitCORE": "0",
		"[Service]Restart": "always", "[Unit]StartLimitIntervalSec": "0",
		"[Service]RestartPreventExitStatus": fmt.Sprint(ExitOrderly, ExitTaken), // refusals are waited out: see Persist
	} {
		if settings[name] != want {
			t.Errorf("%s is %q, wanted %q", name, settings[name], want)
		}
	}
	if start := settings["[Service]ExecStart"]; !strings.HasSuffix(start, "/openshell-gateway serve --restarted-by=systemd --idle=0") {
		t.Errorf("it starts %q", start)
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	kept := &tail{}
	for range 3 * maxTail / 10 {
		_, _ = kept.Write([]byte("0123456789"))
	}
	_, _ = kept.Write([]byte("the end"))
	if text := kept.bytes(); len(text) != maxTail || !strings.HasSuffix(string(text), "the end") {
		t.Errorf("%d bytes, …%s", len(text), text[max(0, len(text)-20):])
	}
}

func TestPrintedErrors(t *testing.T) {
	for text, want := range map[string]string{
		"openshell-gateway: it is so\nhint: do that\n": "it is so | do that",
		"": "the gateway ended with exit code 125 before it listened | read gateway.log in the state directory",
		"openshell-gateway: a\n\nopenshell-gateway: it is b\nhint: c\n": "it is b | c",
	} {
		e := explain.Error(printed([]byte(text), ExitRefused))
		if got := e.Message + " | " + e.Hint; got != want {
			t.Errorf("%q: %s", text, got)
		}
	}
}

// TestWithdrawAfterTheEnd withdraws a supervisor that has ended, because its gateway found
// the lock taken. withdraw must not wait.
func TestWithdrawAfterTheEnd(t *testing.T) {
	t.Setenv(api.EnvStateDir, filepath.Join(t.TempDir(), "state"))
	cmd := exec.Command("/bin/sh", "-c", "exit 3")
	if err := cmd.Run(); cmd.ProcessState.ExitCode() != ExitTaken {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		p := &parent{process: cmd.Process, ended: make(chan struct{}), code: ExitTaken}
		close(p.ended)
		began := time.Now()
		if again, err := p.await(t.Context()); !again || err != nil || time.Since(began) < takenPatience {
			t.Errorf("again %v, %v after %v", again, err, time.Since(began))
		}
		began = time.Now()
		p.withdraw()
		if waited := time.Since(began); waited != 0 {
			t.Errorf("waited %v for what had ended", waited)
		}
	})
}

// TestRestartDelay checks that the delay doubles up to a bound.
func TestRestartDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &restartDelay{}
		for _, want := range []time.Duration{50, 100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000} {
			began := time.Now()
			if err := d.wait(t.Context()); err != nil || time.Since(began) != want*time.Millisecond {
				t.Errorf("waited %v, not %d ms: %v", time.Since(began), want, err)
			}
		}
	})
}

// TestUnitOf checks that a unit is the last part of the cgroup's path, if that is a
// service.
func TestUnitOf(t *testing.T) {
	for cgroups, want := range map[string]string{
		"0::/user.slice/user-1000.slice/user@1000.service/app.slice/openshell-gateway.service\n":        "openshell-gateway.service",
		"9:name=systemd:/user.slice/user-0.slice/user@0.service/app.slice/a.service\n8:pids:/x\n0::/\n": "a.service",
		"0::/user.slice/user-1000.slice/session-3.scope\n":                                              "",
		"0::/\n": "",
		"":       "",
	} {
		if got := unitOf(procfs.ParseCgroups(cgroups)); got != want {
			t.Errorf("%q: %q, not %q", cgroups, got, want)
		}
	}
}
