//go:build e2e

package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest"
	"openshell-vm/drivers/driverstest/testhost"
	"openshell-vm/drivers/vm/guest"
	"openshell-vm/drivers/vm/host"
	"openshell-vm/drivers/vm/hypervisor/krun"
	"openshell-vm/drivers/vm/hypervisor/krun/krunvm"
	"openshell-vm/drivers/vm/hypervisor/qemu"
	"openshell-vm/drivers/vm/images"
	"openshell-vm/drivers/vm/jail"
	"openshell-vm/drivers/vm/jail/jailtest"
	"openshell-vm/drivers/vm/jail/jailtest/listed"
	"openshell-vm/drivers/vm/monitor/api"
	"openshell-vm/drivers/vm/monitor/logs"
	"openshell-vm/drivers/vm/network"
	"openshell-vm/drivers/vm/network/keeper"
)

// stand is a program of a VM that a hostile one replaces.
type stand struct {
	name       string
	process    string // as the monitor calls it
	hypervisor string

	// put makes d use a program at another path. It returns that path, and what the program
	// has to answer to the driver's questions.
	put func(t *testing.T, d *Driver) (program string, answers map[string]string)
	// write puts the hostile program there.
	write func(t *testing.T, program string, role jailtest.Role)
	// sees returns what the program sees of the host in its jail.
	sees   func(program string) jailtest.Targets
	except jailtest.Errnos
}

// Both the root and a mount of the sandbox are a directory that contains the gateway's own
// directories. The intruder's share is in it, too, if it is not the sandbox's.
const (
	stateDir = "state"
	ownDir   = "own"
	workDir  = "at-work" // in the directory that the sandbox may write to
)

var mountedState = "/" + guest.MountName(0) + "/" + stateDir

// chroots is all that the profile of the C virtiofsd allows beyond the others: it may chroot,
// but not out of its jail.
var chroots = jailtest.Errnos{"chroot": {0}, "open .. out of a chroot": {unix.ENOENT}}

var stands = []stand{
	{"krun", "krun", krun.Name, inKrunsPlace, jailtest.WriteIntruder, krunsRoot, nil},
	libkrun,
	{"qemu", "qemu", qemu.Name, inQEMUsPlace, jailtest.WriteIntruder, qemusFiles, nil},
	{"rust shares", "virtiofsd-shares", qemu.Name, inRustsPlace, jailtest.WriteIntruder, servedShares, nil},
	{"rust root", "virtiofsd-root", qemu.Name, inRustsPlace, jailtest.WriteIntruder, servedRoot, nil},
	{"C shares", "virtiofsd-shares", qemu.Name, inCsPlace, jailtest.WriteIntruder, servedShares, chroots},
	{"C root", "virtiofsd-root", qemu.Name, inCsPlace, jailtest.WriteIntruder, servedRoot, chroots},
	{"rust writable", "virtiofsd-writable-0", qemu.Name, inRustsPlace, jailtest.WriteIntruder, servedWork, becomesUsers()},
	{"network", keeper.Process, qemu.Name, inNetworksPlace, jailtest.WriteIntruder, always(jailtest.Targets{Network: true}), opensNothing},
	{"C writable", "virtiofsd-writable-0", qemu.Name, inCsPlace, jailtest.WriteIntruder, servedWork, join(chroots, becomesUsers())},
}

// opensNothing is how the network process's filter refuses: it has no call that opens a file.
// It has the host's network, so it reaches the host's loopback, and asks the kernel for routes.
var opensNothing = func() jailtest.Errnos {
	e := jailtest.Errnos{"connect to the host's loopback": {0}, "a netlink socket": {0}, "take a port below 1024": {unix.EACCES}}
	for _, name := range []string{
		"open /etc/shadow", "open the keys", "open another share", "open .. out of the share: /etc/shadow",
		"open .. out of the share: the keys", "open .. out of the share: another share", "open .. from an inherited descriptor",
		"open by the process's root", "open by the process's directory", "see the host's process", "list the root",
		"write to the jail's root", "write to /proc/sys", "connect to the gateway's socket", "connect to an abstract socket",
		"signal the host's process", "become another user", "a call of the x32 ABI",
	} {
		e[name] = []syscall.Errno{unix.EPERM}
	}
	return e
}()

// inNetworksPlace puts the intruder in openshell-net's place.
func inNetworksPlace(t *testing.T, d *Driver) (string, map[string]string) {
	dir := openPrograms(t)
	d.host.Libexec = dir
	return filepath.Join(dir, network.Program), nil
}

// becomesUsers is what root's server for writing may do: make files as any user.
func becomesUsers() jailtest.Errnos {
	if os.Geteuid() != 0 {
		return nil
	}
	return jailtest.Errnos{"become another user": {0}, "join a group": {0, unix.EPERM}}
}

func join(a, b jailtest.Errnos) jailtest.Errnos {
	both := maps.Clone(a)
	maps.Copy(both, b)
	return both
}

// libkrun is the libkrun that the real openshell-krun loads.
var libkrun = stand{"libkrun", "krun", krun.Name, inLibkrunsPlace, jailtest.WriteLibkrun, krunsRoot, nil}

var (
	krunsRoot = always(jailtest.Targets{
		Share: "/vm/root/shares/auth", Covered: "/vm/root/shares" + mountedState, Disk: "/vm/upper.ext4",
	})
	servedShares = always(jailtest.Targets{Share: "/shared/auth", Covered: "/shared" + mountedState})
	servedWork   = always(jailtest.Targets{Work: "/shared/" + workDir})
	servedRoot   = always(jailtest.Targets{Share: "/shared/" + ownDir, Covered: "/shared/" + stateDir})
)

func qemusFiles(program string) jailtest.Targets {
	return jailtest.Targets{Share: firmware(program), Disk: "/vm/upper.ext4"}
}

func always(t jailtest.Targets) func(string) jailtest.Targets {
	return func(string) jailtest.Targets { return t }
}

// noKVM is the device that a jail gets as KVM's if nobody uses it: the test's machine may have
// no KVM.
const noKVM = os.DevNull

// inKrunsPlace puts the intruder in openshell-krun's place. Nobody loads the libraries, so two
// other files stand for them.
func inKrunsPlace(t *testing.T, d *Driver) (string, map[string]string) {
	dir := openPrograms(t)
	d.host.Libexec, d.cfg.KVM = dir, noKVM
	found := krunvm.Found{
		Library: filepath.Join(dir, host.MonitorProgram), Firmware: filepath.Join(dir, host.InitProgram), Version: krunvm.MinVersion,
	}
	text, err := json.Marshal(found)
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, krun.Program), map[string]string{krunvm.ProbeCommand: string(text)}
}

// inLibkrunsPlace puts the intruder in libkrun's place: openshell-krun loads it and hands
// everything over to it.
func inLibkrunsPlace(t *testing.T, d *Driver) (string, map[string]string) {
	built := jailtest.BuildLibkrun(t)
	if built == "" {
		testhost.Missing(t, "there is no C compiler")
	}
	if _, err := os.Stat(d.host.Program(krun.Program)); err != nil {
		testhost.Missing(t, "%v", err)
	}
	o := krun.Options{Library: filepath.Join(jailtest.OpenDir(t), "libkrun.so.1"), Firmware: filepath.Join(built, "libkrunfw.so.5")}
	d.hypervisors.all, d.cfg.KVM = chosen(o, qemu.Options{}), noKVM
	return o.Library, nil
}

func inQEMUsPlace(t *testing.T, d *Driver) (string, map[string]string) {
	program := filepath.Join(jailtest.OpenDir(t), "bin/qemu-system-x86_64")
	d.hypervisors.all = chosen(krun.Options{}, qemu.Options{Binary: program, Accel: qemu.TCG})
	jailtest.FillShare(t, firmware(program))
	return program, nil
}

// firmware returns a directory that QEMU has in its jail.
func firmware(program string) string {
	return filepath.Join(filepath.Dir(filepath.Dir(program)), "share/seabios")
}

func inRustsPlace(t *testing.T, d *Driver) (string, map[string]string) {
	program := filepath.Join(jailtest.OpenDir(t), "virtiofsd")
	d.hypervisors.all = chosen(krun.Options{}, qemu.Options{Virtiofsd: program, Accel: qemu.TCG})
	return program, map[string]string{"--version": "virtiofsd 1.13.0\n", "--help": "--no-announce-submounts\n"}
}

func inCsPlace(t *testing.T, d *Driver) (string, map[string]string) {
	program := filepath.Join(jailtest.OpenDir(t), "virtiofsd")
	d.hypervisors.all = chosen(krun.Options{}, qemu.Options{Virtiofsd: program, Accel: qemu.TCG})
	return program, map[string]string{"--version": "virtiofsd version 7.2.22\n"}
}

// needQEMU ends a test that can't have a VM of the qemu hypervisor.
func needQEMU(t *testing.T, d *Driver) {
	t.Helper()
	if err := d.hypervisors.named(qemu.Name).Works(t.Context(), d.host); err != nil {
		testhost.Missing(t, "%v", err)
	}
}

// buildAll builds what the tests of any user need.
func buildAll(t *testing.T) {
	t.Helper()
	jailtest.BuildIntruder(t)
	bin := openPrograms(t)
	if jailtest.BuildLibkrun(t) != "" {
		buildKrun(t, bin)
	}
	t.Setenv("OPENSHELL_BIN", bin)
}

// openPrograms returns a directory with the programs that everybody may run; openshell-krun is
// in it if it is built.
func openPrograms(t *testing.T) string {
	t.Helper()
	from, dir := programs(t), jailtest.OpenDir(t)
	for _, name := range []string{host.MonitorProgram, host.InitProgram, krun.Program, network.Program, images.Program} {
		if _, err := os.Stat(filepath.Join(from, name)); err == nil {
			jailtest.CopyFile(t, filepath.Join(from, name), filepath.Join(dir, name))
		}
	}
	return dir
}

// buildKrun adds openshell-krun, which needs a C compiler.
func buildKrun(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, krun.Program)
	if _, err := os.Stat(path); err == nil {
		return
	}
	cmd := exec.Command("go", "build", "-o", path, "openshell-vm/cmd/"+krun.Program)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", krun.Program, err, out)
	}
}

// surroundings makes a driver and a sandbox as a gateway has them. The gateway's directories are
// hidden, and lie in a directory that the sandbox is given: base.
func surroundings(t *testing.T) (d *Driver, spec drivers.Spec, host jailtest.Host, base string) {
	t.Helper()
	d, spec = place(t)
	base = filepath.Dir(d.cfg.RuntimeDir)
	spec.ID = fmt.Sprintf("e2ec%08x", os.Getpid()) // its cgroups are looked for
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
	spec.Dir, spec.Auth = filepath.Join(d.cfg.SandboxesDir, spec.ID), driverstest.Mounts(t, share, drivers.AuthDir)[0]
	spec.Mounts = driverstest.Mounts(t, base, "/mnt/base")
	spec.Hidden = []string{state, d.cfg.RuntimeDir}
	return d, spec, host, base
}

// TestIntruders replaces each program of a VM by a hostile one, in the jail that driver and
// monitor make for it, with all that a gateway has around it. All its attempts have to fail.
func TestIntruders(t *testing.T) {
	buildAll(t)
	jailtest.AsBoth(t, func(t *testing.T) {
		for _, s := range stands {
			t.Run(s.name, s.intrude)
		}
	})
}

func (s stand) intrude(t *testing.T) {
	d, spec, role, program := s.sandbox(t)
	jailtest.Control(t, role.Targets)
	s.write(t, program, role)
	s.create(t, d, spec)
	out := s.said(t, d, spec)
	jailtest.Judge(t, out, s.process+": ", role.Targets, s.except)
	want, err := listed.Want(spec.Dir, s.process)
	if err != nil {
		t.Fatal(err)
	}
	jailtest.JudgeThreads(t, out, want.Tasks)
}

// sandbox makes a sandbox for an intruder, and the intruder's role.
func (s stand) sandbox(t *testing.T) (d *Driver, spec drivers.Spec, role jailtest.Role, program string) {
	t.Helper()
	d, spec, host, base := surroundings(t)
	program, role.Answers = s.put(t, d)
	role.Targets = s.sees(program)
	role.Targets.Host = host
	jailtest.FillShare(t, spec.Auth.Source())
	jailtest.FillShare(t, filepath.Join(base, ownDir))
	if role.Targets.Work != "" {
		dir := jailtest.OpenDir(t)
		spec.Writable = writable(t, filepath.Join(dir, "w"), "/mnt/work")
		if err := os.Mkdir(filepath.Join(dir, "w", workDir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	spec.VM.Rootfs, spec.VM.Hypervisor, spec.CPUs, spec.Memory = base, s.hypervisor, 1, 256<<20
	spec.Process.Args = []string{"/bin/true"}
	if role.Targets.Network {
		spec.Network = drivers.NetworkUser
	}
	return d, spec, role, program
}

func (s stand) create(t *testing.T, d *Driver, spec drivers.Spec) {
	t.Helper()
	if s.hypervisor == qemu.Name {
		needQEMU(t, d)
	}
	if err := d.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Remove(context.Background(), spec.ID); err != nil {
			t.Error(err)
		}
		if left := cgroupsOf(spec.ID); len(left) > 0 {
			t.Errorf("cgroups are left: %v", left)
		}
	})
}

// cgroupsOf returns a sandbox's cgroups in every hierarchy.
func cgroupsOf(id string) (found []string) {
	filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.Contains(d.Name(), id) {
			found = append(found, path)
		}
		return nil
	})
	return found
}

// said runs the VM until the intruder has ended, and returns what it wrote.
func (s stand) said(t *testing.T, d *Driver, spec drivers.Spec) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	started := make(chan error)
	go func() { started <- d.Start(ctx, spec.ID) }()
	var said []string
	var failure error
	waitFor(t, func() bool {
		data, _ := os.ReadFile(filepath.Join(spec.Dir, logs.ToolsFile))
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
	if i := slices.Index(said, s.process+": fatal error: newosproc"); i >= 0 {
		said = said[:i+1] // the network's is started again
	}
	return strings.Join(said, "\n")
}

// TestKrunFromOutside checks openshell-krun's process from outside. It needs no libkrun: another
// library takes its place and does nothing.
func TestKrunFromOutside(t *testing.T) {
	buildAll(t)
	jailtest.AsBoth(t, func(t *testing.T) {
		d, spec, role, program := libkrun.sandbox(t)
		role.Targets.Share = "/nowhere"
		libkrun.write(t, program, role)
		libkrun.create(t, d, spec)
		ctx, cancel := context.WithCancel(t.Context())
		started := make(chan error, 1)
		go func() { started <- d.Start(ctx, spec.ID) }()
		defer func() {
			cancel()
			t.Log(<-started)
		}()
		var pid int
		waitFor(t, func() bool {
			r, err := d.sandbox(spec.ID).ask(ctx, api.Request{Status: &struct{}{}})
			pid = r.PIDs[libkrun.process]
			return err == nil && pid > 0 && runs(pid, program)
		})
		want, err := listed.Want(spec.Dir, libkrun.process)
		if err != nil {
			t.Fatal(err)
		}
		jailtest.Check(t, pid, want)
	})
}

// runs reports whether the process has become the program.
func runs(pid int, program string) bool {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && strings.TrimRight(string(line), "\x00") == program
}

// TestProcessesOfAVM boots a guest with each kind of virtiofsd and checks the VM's processes.
func TestProcessesOfAVM(t *testing.T) {
	kinds := []struct {
		flavor qemu.Virtiofsd
		path   string
	}{
		{qemu.VirtiofsdC, firstOf("/usr/lib/qemu/virtiofsd", "/usr/libexec/qemu/virtiofsd")},
		{qemu.VirtiofsdRust, firstOf(os.Getenv("OPENSHELL_RUST_VIRTIOFSD"), "/usr/libexec/virtiofsd")},
	}
	t.Setenv("OPENSHELL_BIN", openPrograms(t))
	if os.Getuid() == 0 {
		t.Setenv("OPENSHELL_WITNESS", testhost.Witness(t, jailtest.OpenDir(t)))
	}
	jailtest.AsBoth(t, func(t *testing.T) {
		for _, kind := range kinds {
			t.Run(string(kind.flavor), func(t *testing.T) {
				if kind.path == "" {
					testhost.Missing(t, "there is no virtiofsd of this kind")
				}
				d, spec, _, _ := surroundings(t)
				d.hypervisors.all = chosen(krun.Options{}, qemu.Options{Virtiofsd: kind.path})
				spec.VM.Hypervisor, spec.Memory = qemu.Name, 256<<20
				needQEMU(t, d)
				tools, work := jailtest.OpenDir(t), filepath.Join(jailtest.OpenDir(t), "work")
				testhost.Witness(t, tools)
				spec.Mounts = append(spec.Mounts, driverstest.Mounts(t, tools, "/opt/tools")...)
				spec.Writable = writable(t, work, "/work")
				spec = up(t, d, spec, "sleep 1000")
				checkProcesses(t, d, spec)
				checkJailFacts(t, expectState(t, d, spec.ID, drivers.Running), kind.flavor)
				checkFiles(t, d, spec, "/opt/tools/witness", "/work")
			})
		}
	})
}

// writable makes a directory that a guest may write to.
func writable(t *testing.T, source, target string) []drivers.Writable {
	t.Helper()
	w, err := drivers.NewWritable(source, target, "")
	if err := errors.Join(err, os.Mkdir(source, 0o755)); err != nil {
		t.Fatal(err)
	}
	return []drivers.Writable{w}
}

// checkFiles wants a guest's programs to do there what programs do with files.
func checkFiles(t *testing.T, d *Driver, spec drivers.Spec, witness, dir string) {
	t.Helper()
	var out strings.Builder
	_, err := d.Exec(t.Context(), spec.ID, drivers.Process{Args: []string{witness, "files", dir}}, drivers.Streams{Stdout: &out})
	if err != nil {
		t.Error(err)
	}
	t.Log(driverstest.JudgeFiles(t, strings.Split(strings.TrimSpace(out.String()), "\n"), limits()))
}

func firstOf(paths ...string) string {
	for _, path := range paths {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return ""
}

// checkProcesses checks all processes of a sandbox but its monitor.
func checkProcesses(t *testing.T, d *Driver, spec drivers.Spec) {
	t.Helper()
	pids := processes(t, d, spec.ID)
	delete(pids, "monitor")
	if len(pids) != 5 {
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

// checkJailFacts wants inspect to tell in what the profiles confine less, and nothing that this
// host could not give.
func checkJailFacts(t *testing.T, status drivers.Status, flavor qemu.Virtiofsd) {
	t.Helper()
	server := jail.FileServer
	if flavor == qemu.VirtiofsdC {
		server = jail.ChrootServer
	}
	lacks := func(kept ...string) string {
		all := slices.Clone(server.Lacks())
		for _, name := range kept {
			if os.Geteuid() == 0 || strings.HasPrefix(name, "CAP_DAC_OVERRIDE") {
				all = append(all, "it keeps "+name)
			}
		}
		return strings.Join(all, "; ")
	}
	want := map[string]string{
		"jail of qemu":             "complete",
		"jail of network":          strings.Join(jail.Network.Lacks(), "; "),
		"jail of virtiofsd-root":   lacks("CAP_DAC_READ_SEARCH, to read the files of all users in its jail", "CAP_FOWNER, to open them as their owner would"),
		"jail of virtiofsd-shares": lacks("CAP_DAC_READ_SEARCH, to read the files of all users in its jail"),
		"jail of virtiofsd-writable-0": lacks("CAP_DAC_OVERRIDE, to write files for the guest's root whatever their modes",
			"CAP_FOWNER, to open them as their owner would", "CAP_CHOWN, to give files to the guest's users",
			"CAP_SETUID, to make files as the guest's users", "CAP_SETGID, to make files as the guest's groups"),
	}
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
