package vm

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"openshell-vm/drivers"
)

// TestHintForALibkrun: what is too old is to be replaced, what is too new is not.
func TestHintForALibkrun(t *testing.T) {
	for name, test := range map[string]struct{ found, hint string }{
		"too old": {`{"problem": "libkrun 1.17.0 lacks krun_add_virtiofs3"}`, "install libkrun 1.18.0 or a later 1.x"},
		"too new": {`{"problem": "this libkrun is newer than known", "newer": true}`, "use --hypervisor qemu, or keep a libkrun 1.x"},
	} {
		d := emptyDriver(t)
		for program, script := range map[string]string{krunProgram: "#!/bin/sh\ncat <<E\n" + test.found + "\nE\n", initProgram: ""} {
			if err := os.MkdirAll(d.cfg.Libexec, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(d.cfg.Libexec, program), []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		_, err := d.krunTools(t.Context())
		if err == nil || !strings.HasPrefix(err.Error(), "use libkrun: ") || !strings.HasPrefix(drivers.HintOf(err), test.hint) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
