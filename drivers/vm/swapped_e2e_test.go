//go:build e2e

package vm

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest"
	"openshell-vm/drivers/vm/host"
	"openshell-vm/drivers/vm/hypervisor/qemu"
)

// swapper is a monitor that first replaces a directory by a link and then does its work.
const swapper = `#!/bin/sh
[ "$1" != monitor ] || { mv -T %[1]s %[1]s.was && mv -T %[2]s %[1]s; } || exit 1
exec %[3]s "$@"
`

// TestSwappedSource exchanges a mount's source, and a root, after the driver has
// looked at it and before the jail takes it. The VM is not started.
func TestSwappedSource(t *testing.T) {
	for _, what := range []string{"mount", "root"} {
		t.Run(what, func(t *testing.T) {
			d, spec := place(t)
			needQEMU(t, d)
			base := filepath.Dir(d.cfg.RuntimeDir)
			source, link, hidden := filepath.Join(base, "source"), filepath.Join(base, "link"), filepath.Join(base, "hidden")
			for _, err := range []error{os.Mkdir(source, 0o755), os.Mkdir(hidden, 0o755), os.Symlink(hidden, link)} {
				if err != nil {
					t.Fatal(err)
				}
			}
			spec.Hidden, spec.VM.Hypervisor = []string{hidden}, qemu.Name
			if what == "mount" {
				spec.Mounts = driverstest.Mounts(t, source, "/data")
			} else {
				spec.VM.Rootfs = source
			}
			spec = made(t, d, spec, "sleep 1000")
			programs := filepath.Join(base, "libexec")
			script := fmt.Sprintf(swapper, source, link, d.host.Program(host.MonitorProgram))
			for _, err := range []error{
				os.Mkdir(programs, 0o755),
				os.Symlink(d.host.Program(host.InitProgram), filepath.Join(programs, host.InitProgram)),
				os.WriteFile(filepath.Join(programs, host.MonitorProgram), []byte(script), 0o755),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
			d.host.Libexec = programs
			err := d.Start(t.Context(), spec.ID)
			t.Log(err)
			if err == nil || !strings.Contains(err.Error(), "another directory") || !strings.Contains(drivers.HintOf(err), "nobody else can change") {
				t.Errorf("started with an exchanged source: %v, hint %q", err, drivers.HintOf(err))
			}
			expectState(t, d, spec.ID, drivers.Dead)
		})
	}
}
