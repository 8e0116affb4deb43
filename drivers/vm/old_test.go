package vm

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/guest"
	"openshell-vm/drivers/vm/host"
	"openshell-vm/drivers/vm/hypervisor"
	"openshell-vm/drivers/vm/hypervisor/all"
	"openshell-vm/drivers/vm/monitor"
	"openshell-vm/drivers/vm/monitor/api"
	"openshell-vm/drivers/vm/monitor/logs"
	"openshell-vm/internal/atomicfile"
	"openshell-vm/internal/peer"
	"openshell-vm/internal/stream"
)

// oldRecords holds the files that version 99b2efc wrote for a sandbox of each hypervisor.
const oldRecords = "testdata/99b2efc"

// TestOldConfigurations checks that this version reads an older version's monitor
// configurations, and that an older gateway can read the new ones. No field has moved
// or has another name.
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

// TestFactsOfAnOldVM inspects a VM that an older version started. The facts have to be
// the ones which that version showed.
func TestFactsOfAnOldVM(t *testing.T) {
	for name, want := range map[string][]drivers.Fact{
		"krun": {{Name: "libkrun", Value: "/usr/lib/libkrun.so.1"}, {Name: "libkrunfw", Value: "/usr/lib/libkrunfw.so.5"}},
		"qemu": {{Name: "accelerator", Value: "tcg"}, {Name: "virtiofsd", Value: "/usr/lib/qemu/virtiofsd (c)"}},
	} {
		d, spec := old(t, name)
		want = append([]drivers.Fact{{Name: "hypervisor", Value: name}}, want...)
		want = append(want, drivers.Fact{Name: "console log", Value: filepath.Join(spec.Dir, logs.ConsoleFile)})
		if got := d.facts(spec); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, not %v", name, got, want)
		}
	}
}

// TestAnOldRecordStarts starts an old record's sandbox. It has to use the hypervisor
// that the record names and to tell the guest that hypervisor's traits.
func TestAnOldRecordStarts(t *testing.T) {
	for _, name := range []string{"krun", "qemu"} {
		d, spec := old(t, name)
		real := d.hypervisors.named(name)
		d.hypervisors.all = []hypervisor.Hypervisor{found{real}}
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

// TestTheExitOfAnEarlierBoot finds an exit file which an older version left when it
// booted a VM a second time. The file says nothing about the second boot. The monitor
// is asked once.
func TestTheExitOfAnEarlierBoot(t *testing.T) {
	for name, c := range map[string]struct {
		exit           int // the boot that it is of
		alive, answers bool
		state          drivers.State
		reason         string
		asked          int32
	}{
		"it runs":                      {1, true, true, drivers.Running, "this is boot 2", 1},
		"it runs and can't be asked":   {1, true, false, drivers.Running, "its monitor can't be asked", 0},
		"its monitor was killed":       {1, false, false, drivers.Dead, "its monitor ended without an exit status", 0},
		"it has ended":                 {2, false, false, drivers.Exited, "", 0},
		"it has ended a moment ago":    {2, true, true, drivers.Exited, "", 0},
		"of a version without a count": {0, true, true, drivers.Running, "this is boot 2", 1},
	} {
		t.Run(name, func(t *testing.T) {
			d := emptyDriver(t)
			spec := created(t, d)
			cfg := monitor.Config{ID: spec.ID, Dir: spec.Dir, Attempt: 2}
			exit := monitor.Exit{State: drivers.Exited, Attempt: c.exit}
			if err := errors.Join(cfg.Write(), atomicfile.WriteJSON(filepath.Join(spec.Dir, monitor.ExitFile), exit, atomicfile.Volatile)); err != nil {
				t.Fatal(err)
			}
			if c.alive {
				lock, err := monitor.Lock(spec.Dir)
				if err != nil {
					t.Fatal(err)
				}
				defer lock.Close()
			}
			var asked atomic.Int32
			if c.answers {
				answer(t, d.sandbox(spec.ID).runDir, api.Report{State: drivers.Running, Attempt: 2}, &asked)
			}
			s, err := d.Inspect(t.Context(), spec.ID)
			if err != nil || s.State != c.state || !strings.Contains(s.Reason, c.reason) {
				t.Errorf("%s, %q, %v", s.State, s.Reason, err)
			}
			if n := asked.Load(); n != c.asked {
				t.Errorf("its monitor was asked %d times", n)
			}
		})
	}
}

// answer serves as a monitor that gives every client the same report and counts them.
func answer(t *testing.T, runDir string, r api.Report, asked *atomic.Int32) {
	t.Helper()
	if err := os.MkdirAll(runDir, 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := peer.ListenIn(runDir, api.SocketFile)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.AcceptUnix()
			if err != nil {
				return
			}
			asked.Add(1)
			var request api.Request
			if err := stream.ReadJSON(stream.NewReader(c), &request); err == nil {
				_ = stream.WriteJSON(stream.NewWriter(c), 0, r)
			}
			c.Close()
		}
	}()
}

// found is a hypervisor that finds the same tools as an older version did.
type found struct{ hypervisor.Hypervisor }

func (f found) Find(context.Context, *host.Host) (hypervisor.Tools, error) {
	cfg, err := monitor.ReadConfig(filepath.Join(oldRecords, f.Name()))
	if err != nil {
		return nil, err
	}
	return f.Read(cfg.Tools)
}

// old returns a driver with a sandbox of an older version. The sandbox's root exists.
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
	spec, err := d.sandbox("abc").spec()
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
