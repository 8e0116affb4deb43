package gateway

import (
	"slices"
	"strings"
	"testing"
)

// TestUnitArgs: the unit gets the environment that says where things are, by
// name only, and leaves sandboxes alone.
func TestUnitArgs(t *testing.T) {
	unit := unitName("/home/x/.local/state/openshell-vm")
	if unit == unitName("/home/y/.local/state/openshell-vm") || !strings.HasSuffix(unit, ".service") {
		t.Errorf("unit %s", unit)
	}
	args := unitArgs(unit, "/usr/libexec/openshell-vm/openshell-gateway", []string{
		"SECRET=1", "XDG_STATE_HOME=/s", "PATH=/bin", "OPENSHELL_QEMU=/q", "DOCKER_HOST=tcp://user:pass@h", "HOME=/home/x", "LD_PRELOAD=/x",
	})
	want := []string{"--user", "--quiet", "--collect", "--unit=" + unit, "--description=openshell-vm gateway",
		"--property=Type=exec", "--property=Restart=always", "--property=RestartSec=100ms", "--property=StartLimitIntervalSec=0",
		"--property=RestartPreventExitStatus=0 3 125", "--property=KillMode=process", "--property=LimitCORE=0",
		"--setenv=DOCKER_HOST", "--setenv=HOME", "--setenv=OPENSHELL_QEMU", "--setenv=PATH", "--setenv=XDG_STATE_HOME",
		"--", "/usr/libexec/openshell-vm/openshell-gateway", "--supervised=systemd"}
	if !slices.Equal(args, want) {
		t.Errorf("got  %q\nwant %q", args, want)
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
		line, hint := Explain(printed([]byte(text), ExitRefused))
		if got := line + " | " + hint; got != want {
			t.Errorf("%q: %s", text, got)
		}
	}
}
