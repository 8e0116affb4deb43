//go:build e2e

package vm

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest"
	"openshell-vm/drivers/vm/guest"
	"openshell-vm/drivers/vm/jail"
	"openshell-vm/drivers/vm/jail/jailtest"
	"openshell-vm/drivers/vm/jail/jailtest/listed"
	"openshell-vm/drivers/vm/krunvm"
	"openshell-vm/drivers/vm/monitor"
	"openshell-vm/drivers/vm/qemu"
)

// stand is a program of a VM in whose place a hostile one is put.
type stand struct {
	name       string
	process    string // as the monitor calls it
	hypervisor string

	// put makes d take a program that lies elsewhere. It returns where that is
	// to be, and what it is to answer to the driver's questions.
	put func(t *testing.T, d *Driver) (program string, answers map[string]string)
	// sees is what of the host the program sees in its jail.
	sees   func(program string) jailtest.Targets
	except jailtest.Errnos
}

// Both the root and a mount of the sandbox are a directory that contains the
// gateway's own. An intruder's share is in it, too, where it is not the sandbox's.
const (
	stateDir = "state"
	ownDir   = "own"
)

var mountedState = "/" + guest.MountName(0) + "/" + stateDir

// chroots is what the profile of the C virtiofsd gives up, and all of it: it may
// chroot, which leads no higher than its jail.
var chroots = jailtest.Errnos{"chroot": {0}, "open .. out of a chroot": {unix.ENOENT}}

var stands = []stand{
	{name: "krun", process: "krun", hypervisor: hypervisorKrun, put: inKrunsPlace, sees: always(jailtest.Targets{
		Share: "/vm/root/shares/auth", Covered: "/vm/root/shares" + mountedState, Disk: "/vm/upper.ext4",
	})},
	{name: "qemu", process: "qemu", hypervisor: hypervisorQEMU, put: inQEMUsPlace, sees: func(program string) jailtest.Targets {
		return jailtest.Targets{Share: firmware(program), Disk: "/vm/upper.ext4"}
	}},
	{name: "rust shares", process: "virtiofsd-shares", hypervisor: hypervisorQEMU, put: inRustsPlace, sees: servedShares},
	{name: "rust root", process: "virtiofsd-root", hypervisor: hypervisorQEMU, put: inRustsPlace, sees: servedRoot},
	{name: "C shares", process: "virtiofsd-shares", hypervisor: hypervisorQEMU, put: inCsPlace, sees: servedShares, except: chroots},
	{name: "C root", process: "virtiofsd-root", hypervisor: hypervisorQEMU, put: inCsPlace, sees: servedRoot, except: chroots},
}

var (
	servedShares = always(jailtest.Targets{Share: "/shared/auth", Covered: "/shared" + mountedState})
	servedRoot   = always(jailtest.Targets{Share: "/shared/" + ownDir, Covered: "/shared/" + stateDir})
)

func always(t jailtest.Targets) func(string) jailtest.Targets {
	return func(string) jailtest.Targets { return t }
}

// inKrunsPlace takes two files for the libraries, which nobody loads.
func inKrunsPlace(t *testing.T, d *Driver) (string, map[string]string) {
	if _, err := os.Stat("/dev/kvm"); err != nil {
		driverstest.Missing(t, "there is no device to put into the jail: %v", err)
	}
	dir := openPrograms(t)
	d.cfg.Libexec = dir
	found := krunvm.Found{
		Library: filepath.Join(dir, monitorProgram), Firmware: filepath.Join(dir, initProgram), Version: krunvm.MinVersion,
	}
	text, err := json.Marshal(found)
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, krunProgram), map[string]string{krunvm.ProbeCommand: string(text)}
}

func inQEMUsPlace(t *testing.T, d *Driver) (string, map[string]string) {
	d.cfg.QEMU, d.cfg.Accel = filepath.Join(jailtest.OpenDir(t), "bin/qemu-system-x86_64"), qemu.TCG
	jailtest.FillShare(t, firmware(d.cfg.QEMU))
	return d.cfg.QEMU, nil
}

// firmware is a directory that QEMU is given.
func firmware(program string) string {
	return filepath.Join(filepath.Dir(filepath.Dir(program)), "share/seabios")
}

func inRustsPlace(t *testing.T, d *Driver) (string, map[string]string) {
	d.cfg.Virtiofsd, d.cfg.Accel = filepath.Join(jailtest.OpenDir(t), "virtiofsd"), qemu.TCG
	return d.cfg.Virtiofsd, map[string]string{"--version": "virtiofsd 1.13.0\n", "--help": "--no-announce-submounts\n"}
}

func inCsPlace(t *testing.T, d *Driver) (string, map[string]string) {
	d.cfg.Virtiofsd, d.cfg.Accel = filepath.Join(jailtest.OpenDir(t), "virtiofsd"), qemu.TCG
	return d.cfg.Virtiofsd, map[string]string{"--version": "virtiofsd version 7.2.22\n"}
}

// needQEMU ends a test that can't have a VM of the qemu hypervisor.
func needQEMU(t *testing.T, d *Driver) {
	t.Helper()
	if _, err := d.qemuTools(t.Context()); err != nil {
		driverstest.Missing(t, "%v", err)
	}
}

// openPrograms are the programs where everybody may run them.
func openPrograms(t *testing.T) string {
	t.Helper()
	from, dir := programs(t), jailtest.OpenDir(t)
	for _, name := range []string{monitorProgram, initProgram} {
		jailtest.CopyFile(t, filepath.Join(from, name), filepath.Join(dir, name))
	}
	return dir
}

// surroundings are a driver and a sandbox as a gateway has them: its directories
// are hidden, and lie in what the sandbox is given. base is that directory.
func surroundings(t *testing.T) (d *Driver, spec drivers.Spec, host jailtest.Host, base string) {
	t.Helper()
	d, spec = place(t)
	base = filepath.Dir(d.cfg.RuntimeDir)
	state := filepath.Join(base, stateDir)
	share := filepath.Join(state, "shares", spec.ID, "auth")
	if err := os.MkdirAll(filepath.Dir(share), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(spec.Auth.Source(), share); err != nil {
		t.Fatal(err)
	}
	d.cfg.SandboxesDir = filepath.Join(state, "sandboxes")
	host = jailtest.NewHost(t, state, d.cfg.RuntimeDir)
	spec.Dir, spec.Auth = filepath.Join(d.cfg.SandboxesDir, spec.ID), mounts(t, share, drivers.AuthDir)[0]
	spec.Mounts = mounts(t, base, "/mnt/base")
	spec.Hidden = []string{state, d.cfg.RuntimeDir}
	return d, spec, host, base
}

// TestIntruders puts a hostile program in the place of each program of a VM, in the
// jail that the driver and the monitor make for it, with all that a gateway has
// around it. What it tries must fail, as it does here.
func TestIntruders(t *testing.T) {
	jailtest.BuildIntruder(t)
	t.Setenv("OPENSHELL_BIN", openPrograms(t))
	jailtest.AsBoth(t, func(t *testing.T) {
		for _, s := range stands {
			t.Run(s.name, s.intrude)
		}
	})
}

func (s stand) intrude(t *testing.T) {
	d, spec, host, base := surroundings(t)
	program, answers := s.put(t, d)
	targets := s.sees(program)
	targets.Host = host
	jailtest.Control(t, targets)
	jailtest.WriteIntruder(t, program, jailtest.Role{Targets: targets, Answers: answers})
	if s.hypervisor == hypervisorQEMU {
		needQEMU(t, d)
	}
	jailtest.FillShare(t, spec.Auth.Source())
	jailtest.FillShare(t, filepath.Join(base, ownDir))

	spec.Rootfs, spec.Hypervisor, spec.CPUs, spec.Memory = base, s.hypervisor, 1, 256<<20
	spec.Process.Args = []string{"/bin/true"}
	if err := d.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Remove(context.Background(), spec.ID) })
	out := s.said(t, d, spec)
	jailtest.Judge(t, out, s.process+": ", targets, s.except)
	want, err := listed.Want(spec.Dir, s.process)
	if err != nil {
		t.Fatal(err)
	}
	jailtest.JudgeThreads(t, out, want.Tasks)
}

// said starts the VM, for as long as the intruder has something to say.
func (s stand) said(t *testing.T, d *Driver, spec drivers.Spec) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	started := make(chan error)
	go func() { started <- d.Start(ctx, spec.ID) }()
	var said []string
	var failure error
	waitFor(t, func() bool {
		data, _ := os.ReadFile(filepath.Join(spec.Dir, monitor.ToolsFile))
		said = slices.DeleteFunc(strings.Split(string(data), "\n"), func(line string) bool {
			return !strings.HasPrefix(line, s.process+": ")
		})
		select {
		case failure = <-started:
			started = nil
		default:
		}
		return slices.Contains(said, s.process+": fatal error: newosproc") || failure != nil && len(said) == 0
	})
	cancel()
	if started != nil {
		failure = <-started
	}
	t.Logf("%v (%s)", failure, drivers.HintOf(failure))
	return strings.Join(said, "\n")
}

// TestProcessesOfAVM boots a guest with either kind of virtiofsd and looks at the
// processes that are the VM.
func TestProcessesOfAVM(t *testing.T) {
	kinds := []struct {
		flavor qemu.Virtiofsd
		path   string
	}{
		{qemu.VirtiofsdC, firstOf("/usr/lib/qemu/virtiofsd", "/usr/libexec/qemu/virtiofsd")},
		{qemu.VirtiofsdRust, firstOf(os.Getenv("OPENSHELL_RUST_VIRTIOFSD"), "/usr/libexec/virtiofsd")},
	}
	t.Setenv("OPENSHELL_BIN", openPrograms(t))
	jailtest.AsBoth(t, func(t *testing.T) {
		for _, kind := range kinds {
			t.Run(string(kind.flavor), func(t *testing.T) {
				if kind.path == "" {
					driverstest.Missing(t, "there is no virtiofsd of this kind")
				}
				d, spec, _, _ := surroundings(t)
				d.cfg.Virtiofsd, spec.Hypervisor, spec.Memory = kind.path, hypervisorQEMU, 256<<20
				needQEMU(t, d)
				spec = up(t, d, spec, "sleep 1000")
				checkProcesses(t, d, spec)
				checkJailFacts(t, expectState(t, d, spec.ID, drivers.Running), kind.flavor)
			})
		}
	})
}

func firstOf(paths ...string) string {
	for _, path := range paths {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return ""
}

// checkProcesses looks at all processes of a sandbox but its monitor.
func checkProcesses(t *testing.T, d *Driver, spec drivers.Spec) {
	t.Helper()
	pids := processes(t, d, spec.ID)
	delete(pids, "monitor")
	if len(pids) != 3 {
		t.Errorf("the VM is the processes %v", pids)
	}
	for _, name := range slices.Sorted(maps.Keys(pids)) {
		t.Run(name, func(t *testing.T) {
			want, err := listed.Want(spec.Dir, name)
			if err != nil {
				t.Fatal(err)
			}
			jailtest.Check(t, pids[name], want)
		})
	}
}

// checkJailFacts wants inspect to tell what the profiles lack, and of nothing else
// that this host could not give.
func checkJailFacts(t *testing.T, status drivers.Status, flavor qemu.Virtiofsd) {
	t.Helper()
	server := jail.FileServer
	if flavor == qemu.VirtiofsdC {
		server = jail.ChrootServer
	}
	lacks := strings.Join(server.Lacks(), "; ")
	want := map[string]string{"jail of qemu": "complete", "jail of virtiofsd-root": lacks, "jail of virtiofsd-shares": lacks}
	for _, fact := range status.Details {
		if text, ok := want[fact.Name]; ok && fact.Value != text {
			t.Errorf("%s: %s, not %s", fact.Name, fact.Value, text)
		}
		delete(want, fact.Name)
	}
	if len(want) > 0 {
		t.Errorf("not told: %v", want)
	}
}
