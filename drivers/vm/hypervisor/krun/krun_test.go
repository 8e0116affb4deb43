package krun

import (
	"os"
	"strings"
	"testing"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/host"
)

// TestHintForALibkrun checks the hints for a libkrun that is too old and for one that is too new.
func TestHintForALibkrun(t *testing.T) {
	for name, test := range map[string]struct{ found, hint string }{
		"too old": {`{"problem": "libkrun 1.17.0 lacks krun_add_virtiofs3"}`, "install libkrun 1.18.0 or a later 1.x"},
		"too new": {`{"problem": "this libkrun is newer than known", "newer": true}`, "use --hypervisor qemu, or keep a libkrun 1.x"},
	} {
		h := host.New(host.Config{Libexec: t.TempDir(), CacheDir: t.TempDir()})
		for program, script := range map[string]string{Program: "#!/bin/sh\ncat <<E\n" + test.found + "\nE\n", host.InitProgram: ""} {
			if err := os.WriteFile(h.Program(program), []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		_, err := New(Options{}).Find(t.Context(), h)
		if err == nil || !strings.HasPrefix(err.Error(), "use libkrun: ") || !strings.HasPrefix(drivers.HintOf(err), test.hint) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
