package kvm

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestOpenable(t *testing.T) {
	dir := t.TempDir()
	closed := filepath.Join(dir, "closed")
	if err := os.WriteFile(closed, nil, 0); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, device string
		root         bool // root is refused it as well
		reason, hint string
	}{
		{"absent", filepath.Join(dir, "none"), true, "does not exist", hintAbsent},
		{"forbidden", closed, false, "may not be opened by user", hintGroup},
		{"a directory", dir, true, "is a directory", hintAbsent},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if !tt.root && os.Geteuid() == 0 {
				t.Skip("root may open it")
			}
			r, ok := openable(tt.device)
			if ok || r.Usable || !strings.Contains(r.Reason, tt.reason) || r.Hint != tt.hint {
				t.Errorf("got %v %+v", ok, r)
			}
		})
	}
	if r, ok := openable(os.DevNull); !ok {
		t.Errorf("a device that can be opened: %+v", r)
	}
}

func TestChild(t *testing.T) {
	tests := []struct {
		name, script string
		usable       bool
		passing      bool
		reason       string
	}{
		{"yes", `echo '{"usable":true}'`, true, false, ""},
		{"no", `echo '{"usable":false,"reason":"it fails"}'`, false, false, "it fails"},
		{"crash", `echo broken >&2; kill -SEGV $$`, false, true, "broken"},
		{"nonsense", `echo hello`, false, true, "not understood"},
		{"begins first", `echo; echo '{"usable":true}'`, true, false, ""},
		{"never begins", `exec sleep 3600`, false, true, "did not begin"},
		{"hang", `echo; exec sleep 3600`, false, true, "hangs"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			limit := limits{begin: time.Minute, run: time.Minute}
			switch tt.name {
			case "hang":
				limit.run = 100 * time.Millisecond
			case "never begins":
				limit.begin = 100 * time.Millisecond
			}
			r := runChild(t.Context(), limit, "/bin/sh", "-c", tt.script)
			if r.Usable != tt.usable || r.passing != tt.passing || !strings.Contains(r.Reason, tt.reason) {
				t.Errorf("got %+v", r)
			}
		})
	}
}

func TestChildOfACancelledProbe(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := runChild(ctx, limits{time.Minute, time.Minute}, "/bin/sh", "-c", "exec sleep 60"); r.Usable || !r.passing {
		t.Errorf("got %+v", r)
	}
}

// TestProbeHere can't know the answer. It checks that there is one in time, and that it is remembered.
func TestProbeHere(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := Prober{Self: self, Cache: filepath.Join(t.TempDir(), "kvm.json"), Hypervisor: "qemu"}
	first := p.Probe(t.Context())
	t.Logf("usable: %v %s", first.Usable, first.Reason)
	if first.Usable != (first.Reason == "") {
		t.Errorf("the answer contradicts itself: %+v", first)
	}
	if _, ok := openable(Device); !ok {
		return
	}
	p.Self = "/nonexistent" // so a second child would be an error
	if second := p.Probe(t.Context()); second.Usable != first.Usable || second.Reason != first.Reason {
		t.Errorf("first %+v, remembered %+v", first, second)
	}
}

// TestProgram assembles the embedded program's source and compares.
func TestProgram(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the program is for amd64")
	}
	for _, tool := range []string{"as", "objcopy"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	object, binary := filepath.Join(t.TempDir(), "guest.o"), filepath.Join(t.TempDir(), "guest.bin")
	for _, args := range [][]string{
		{"as", "-o", object, "testdata/guest.S"},
		{"objcopy", "-O", "binary", "-j", ".text", object, binary},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	want, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("guest_amd64.bin")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("guest_amd64.bin is not what testdata/guest.S gives")
	}
}
