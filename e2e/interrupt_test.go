//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	"openshell-vm/drivers/driverstest/capture"
)

// interruptPatience bounds waits for what takes a second on an idle machine.
const interruptPatience = 30 * time.Second

// TestInterruptedBoot presses ctrl-c at each stage of a VM's boot. The command has to end soon,
// with exit code 130 for a shell, and nothing may be left.
func TestInterruptedBoot(t *testing.T) {
	eachUser(t, func(t *testing.T, w *world) {
		w.run("gateway", "start")
		for _, c := range []struct {
			at    string
			flags []string
			ready func(b *boot) bool
		}{
			{"at once", []string{"-it"}, func(*boot) bool { return true }},
			{"it is created", []string{"-it"}, func(b *boot) bool { return b.id() != "" }},
			{"its monitor runs", []string{"-it"}, func(b *boot) bool { return b.runs("openshell-vmm") }},
			{"its monitor runs", []string{"-d"}, func(b *boot) bool { return b.runs("openshell-vmm") }},
			{"QEMU runs", nil, func(b *boot) bool { return b.runs("qemu-system") }},
			{"the guest's kernel speaks", []string{"-it"}, func(b *boot) bool { return b.size("console.log") > 0 }},
			{"progress is shown", []string{"-it", "--rm"}, func(b *boot) bool { return strings.Contains(b.screen.String(), "… 1s") }},
		} {
			t.Run(strings.ReplaceAll(fmt.Sprint("when ", c.at, c.flags), " ", "-"), func(t *testing.T) {
				w.as(t).interrupted(c.flags, c.ready)
			})
		}
	})
}

// boot is a run on a terminal of its own.
type boot struct {
	w      *world
	screen *capture.Buffer
}

func (w *world) interrupted(flags []string, ready func(*boot) bool) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*patience)
	defer cancel()
	args := append(append([]string{"run"}, flags...), "--", "sleep", "1000000")
	cmd := w.command(ctx, "openshell-vm", args...)
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 80})
	w.must(err)
	defer terminal.Close()
	b := &boot{w, &capture.Buffer{}}
	go func() { _, _ = io.Copy(b.screen, terminal) }()
	w.eventually("the moment comes", patience, func() bool { return ready(b) })

	vm := remains{id: b.id(), processes: map[int]uint64{}}
	if monitor := b.process("openshell-vmm"); monitor != 0 {
		vm.processes = family(monitor)
	}
	pressed := time.Now()
	_, err = terminal.Write([]byte{3})
	w.must(err)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		// Before it can handle the signal, the signal ends it.
		status := cmd.ProcessState.Sys().(syscall.WaitStatus)
		if status.ExitStatus() != 130 && status.Signal() != syscall.SIGINT {
			w.Errorf("it ends with %v (%v), not with 130\n%s", status.ExitStatus(), err, b.screen)
		}
		w.Logf("it ended after %.1f s", time.Since(pressed).Seconds())
	case <-time.After(interruptPatience):
		w.Errorf("it has not ended %v after ctrl-c\n%s", interruptPatience, b.screen)
	}
	w.eventually("no sandbox is left", interruptPatience, func() bool {
		left, err := os.ReadDir(filepath.Join(w.stateDir(), "sandboxes"))
		w.must(err)
		return len(left) == 0
	})
	if list := w.run("ps", "-aq"); list != "" {
		w.Errorf("ps still lists %q", list)
	}
	if vm.id != "" {
		w.gone(vm)
	}
}

// id returns the sandbox's id; "" before there is one.
func (b *boot) id() string {
	entries, _ := os.ReadDir(filepath.Join(b.w.stateDir(), "sandboxes"))
	for _, e := range entries {
		return e.Name()
	}
	return ""
}

func (b *boot) size(file string) int64 {
	info, err := os.Stat(filepath.Join(b.w.stateDir(), "sandboxes", b.id(), file))
	if err != nil {
		return 0
	}
	return info.Size()
}

func (b *boot) runs(program string) bool { return b.process(program) != 0 }

// process returns the pid of the monitor, or of a process that it started, by the beginning of
// its name.
func (b *boot) process(program string) int {
	monitor := 0
	for pid, cmdline := range b.w.processes() {
		if strings.Contains(cmdline, "openshell-vmm monitor ") {
			monitor = pid
		}
	}
	if monitor == 0 || program == "openshell-vmm" {
		return monitor
	}
	for pid := range family(monitor) {
		name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if strings.HasPrefix(string(name), program) {
			return pid
		}
	}
	return 0
}
