//go:build e2e

package jail

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers/vm/jail/jailtest"
)

func init() {
	roles["poor-host"] = poorHost
	roles["kvm"] = askKVM
	roles["nothing"] = func([]string) {}
}

// poorHostSays is what poorHost prints.
type poorHostSays struct {
	Report   Report
	Required string // the error with Config.Require
}

// poorHost plays root on a host without user namespaces: it makes one and forbids further ones in it.
func poorHost([]string) {
	if err := os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0); err != nil {
		panic(err)
	}
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	var says poorHostSays
	if says.Report, err = Support(self); err != nil {
		panic(err)
	}
	cmd, err := Command(self, Config{Name: "poor", Profile: Strict, Path: "/none", Require: true})
	if err != nil {
		panic(err)
	}
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	if _, err := cmd.Report(); err != nil {
		says.Required = err.Error()
	}
	cmd.Wait()
	json.NewEncoder(os.Stdout).Encode(says)
}

// TestHostWithoutUserNamespaces wants root's jail made all the same, with a report of what is missing.
// If a complete jail is required, it has to be refused.
func TestHostWithoutUserNamespaces(t *testing.T) {
	cmd := exec.Command(jailtest.Self(t), "poor-host")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
		// Root's jail drops groups.
		GidMappingsEnableSetgroups: os.Geteuid() == 0,
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be root of the poor host")
	}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, errs.String())
	}
	var says poorHostSays
	if err := json.Unmarshal(out, &says); err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v\n%s", says.Report.Missing, says.Required)
	if slices.Contains(says.Report.Namespaces, "user") ||
		!slices.ContainsFunc(says.Report.Missing, func(g Gap) bool { return g.Name == "user namespace" }) {
		t.Errorf("got %+v", says.Report)
	}
	if !strings.Contains(says.Required, "user namespace") {
		t.Errorf("required, it said %q", says.Required)
	}
}

// askKVM asks KVM for its version.
func askKVM([]string) {
	fd, err := unix.Open("/dev/kvm", unix.O_RDWR, 0)
	if err != nil {
		fmt.Println("open:", err)
		return
	}
	version, err := unix.IoctlRetInt(fd, 0xae00)
	fmt.Println(version, err)
}

// TestKVMInside wants the device to be usable in a jail by everybody who may use it outside: root, and
// members of its group.
func TestKVMInside(t *testing.T) {
	jailtest.AsBoth(t, func(t *testing.T) {
		fd, err := unix.Open("/dev/kvm", unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Skipf("/dev/kvm: %v", err)
		}
		unix.Close(fd)
		cfg := ownConfig(t, "kvm")
		cfg.Devices = append(cfg.Devices, "/dev/kvm")
		var out bytes.Buffer
		cmd, _ := start(t, cfg, func(c *Cmd) { c.Stdout = &out })
		if err := cmd.Wait(); err != nil || out.String() != "12 <nil>\n" {
			t.Errorf("KVM in the jail: %s%v", out.String(), err)
		}
	})
}

// BenchmarkStart measures the start of a program in a jail, compared with its start without one. Every
// VM starts three jails, one after the other.
func BenchmarkStart(b *testing.B) {
	cfg := ownConfig(b, "nothing")
	var jailed, plain time.Duration
	for b.Loop() {
		begin := time.Now()
		cmd, _ := start(b, cfg, nil)
		cmd.Wait()
		jailed += time.Since(begin)
		begin = time.Now()
		if err := exec.Command(jailtest.Self(b), "nothing").Run(); err != nil {
			b.Fatal(err)
		}
		plain += time.Since(begin)
	}
	b.ReportMetric(float64(len(cfg.Binds)+len(cfg.Devices)+3), "mounts")
	b.ReportMetric(float64(jailed)/float64(plain), "ratio")
}
