package vm

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/guest"
	"openshell-vm/drivers/vm/host"
	"openshell-vm/drivers/vm/hypervisor"
	"openshell-vm/drivers/vm/hypervisor/all"
	"openshell-vm/drivers/vm/monitor"
)

// What version 99b2efc wrote for a sandbox of each hypervisor.
const oldRecords = "testdata/99b2efc"

// TestOldConfigurations: what a monitor of an older version was told is understood,
// and what a newer one is told an older gateway understands: nothing has another
// name or place.
func TestOldConfigurations(t *testing.T) {
	for _, name := range []string{"krun", "qemu"} {
		dir := filepath.Join(oldRecords, name)
		cfg, err := monitor.ReadConfig(dir)
		if err != nil {
			t.Fatal(err)
		}
		if cfg.Hypervisor != name || cfg.CPUs != 2 || cfg.Rootfs.Source != "/srv/debian" || len(cfg.Mounts) != 1 || cfg.Mounts[0].Source != "/home/u/data" {
			t.Errorf("%s: %+v", name, cfg)
		}
		tools, err := all.Read(cfg.Hypervisor, cfg.Tools)
		if err != nil {
			t.Fatal(err)
		}
		if cfg.Tools, err = json.Marshal(tools); err != nil { // as it is written now
			t.Fatal(err)
		}
		data, err := json.Marshal(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if was, is := fields(t, filepath.Join(dir, monitor.ConfigFile)), decoded(t, data); !reflect.DeepEqual(was, is) {
			t.Errorf("%s: it was\n%v\nand is\n%v", name, was, is)
		}
	}
}

// TestFactsOfAnOldVM: inspect tells of a VM that an older version started what that
// version told.
func TestFactsOfAnOldVM(t *testing.T) {
	for name, want := range map[string][]drivers.Fact{
		"krun": {{Name: "libkrun", Value: "/usr/lib/libkrun.so.1"}, {Name: "libkrunfw", Value: "/usr/lib/libkrunfw.so.5"}},
		"qemu": {{Name: "accelerator", Value: "tcg"}, {Name: "virtiofsd", Value: "/usr/lib/qemu/virtiofsd (c)"}},
	} {
		d, spec := old(t, name)
		want = append([]drivers.Fact{{Name: "hypervisor", Value: name}}, want...)
		want = append(want, drivers.Fact{Name: "console log", Value: filepath.Join(spec.Dir, monitor.ConsoleFile)})
		if got := d.facts(spec); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, not %v", name, got, want)
		}
	}
}

// TestAnOldRecordStarts: with the hypervisor that the record names, whose guest is
// told what that can.
func TestAnOldRecordStarts(t *testing.T) {
	for _, name := range []string{"krun", "qemu"} {
		d, spec := old(t, name)
		real := d.hypervisor(name)
		d.cfg.Hypervisors = []hypervisor.Hypervisor{found{real}}
		if err := os.MkdirAll(filepath.Join(spec.Dir, bootDir), 0o700); err != nil {
			t.Fatal(err)
		}
		cfg, tools, err := d.prepare(t.Context(), spec)
		if err != nil {
			t.Fatal(name, err)
		}
		if cfg.Hypervisor != name || cfg.Rootfs.Source != spec.VM.Rootfs || cfg.Upper != filepath.Join(spec.Dir, upperFile) || cfg.BootDeadline != tools.Boot().Deadline {
			t.Errorf("%s: %+v", name, cfg)
		}
		data, err := os.ReadFile(filepath.Join(spec.Dir, bootDir, guest.SpecFile))
		if err != nil {
			t.Fatal(err)
		}
		var boot guest.BootSpec
		if err := json.Unmarshal(data, &boot); err != nil || boot.Traits == nil || *boot.Traits != real.Traits() {
			t.Errorf("%s: the guest is told %s, %v", name, data, err)
		}
	}
}

// found is a hypervisor that finds what an older version has found.
type found struct{ hypervisor.Hypervisor }

func (f found) Find(context.Context, *host.Host) (hypervisor.Tools, error) {
	cfg, err := monitor.ReadConfig(filepath.Join(oldRecords, f.Name()))
	if err != nil {
		return nil, err
	}
	return f.Read(cfg.Tools)
}

// old is a driver with a sandbox of an older version's, whose root exists.
func old(t *testing.T, name string) (*Driver, drivers.Spec) {
	t.Helper()
	d, root := emptyDriver(t), t.TempDir()
	dir := d.dir("abc")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{specFile, monitor.ConfigFile} {
		data, err := os.ReadFile(filepath.Join(oldRecords, name, file))
		if err != nil {
			t.Fatal(err)
		}
		text := strings.NewReplacer("/state/sandboxes/abc", dir, "/srv/debian", root).Replace(string(data))
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	spec, err := d.spec("abc")
	if err != nil {
		t.Fatal(err)
	}
	return d, spec
}

func fields(t *testing.T, file string) map[string]any {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return decoded(t, data)
}

func decoded(t *testing.T, data []byte) (m map[string]any) {
	t.Helper()
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	return m
}
