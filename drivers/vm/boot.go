package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/host"
	"openshell-vm/drivers/vm/monitor"
	"openshell-vm/drivers/vm/monitor/api"
	"openshell-vm/drivers/vm/monitor/logs"
)

// boot starts a monitor and waits for its report. It returns nil if the workload runs, else
// the report on why it does not. The lock goes to the monitor; the caller closes its own
// copy.
func (d *Driver) boot(ctx context.Context, cfg monitor.Config, lock *os.File) (*api.Ready, error) {
	// The end of an earlier boot or run says nothing about this one.
	if err := os.Remove(filepath.Join(cfg.Dir, monitor.ExitFile)); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	// A monitor that was killed has left its socket and its cgroups.
	d.sandbox(cfg.ID).removeCgroups()
	if err := errors.Join(os.RemoveAll(cfg.RunDir), os.MkdirAll(cfg.RunDir, 0o700), cfg.Write()); err != nil {
		return nil, err
	}
	report, err := d.spawn(cfg, lock)
	if err != nil {
		return nil, err
	}
	defer report.Close()
	lock.Close() // the monitor's copy has to be the only one
	report.SetReadDeadline(time.Now().Add(cfg.LongestBoot() + reportMargin))
	stop := context.AfterFunc(ctx, func() { report.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var ready api.Ready
	if err := json.NewDecoder(report).Decode(&ready); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		cleanUp, cancel := context.WithTimeout(context.WithoutCancel(ctx), reportMargin)
		defer cancel()
		return nil, errors.Join(
			fmt.Errorf("the VM's monitor gave no report (see %s): %w", filepath.Join(cfg.Dir, monitor.LogFile), err),
			killMonitor(cleanUp, cfg.Dir))
	}
	if ready.Problem == "" {
		return nil, nil
	}
	return &ready, waitGone(ctx, cfg.Dir)
}

// spawn starts the monitor in a session of its own. It inherits only its log, the report
// pipe and the lock. spawn returns the pipe's other end.
func (d *Driver) spawn(cfg monitor.Config, lock *os.File) (report *os.File, err error) {
	report, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	log, err := os.OpenFile(filepath.Join(cfg.Dir, monitor.LogFile), os.O_CREATE|os.O_WRONLY|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		report.Close()
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(d.host.Program(host.MonitorProgram), "monitor", cfg.Dir)
	cmd.Dir, cmd.Env = "/", []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{theirs, lock}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		report.Close()
		return nil, &drivers.Error{Op: "start the VM's monitor", Err: err, Hint: "install openshell-vmm beside openshell-gateway"}
	}
	go cmd.Wait() // reaps the monitor, if it ends before this process
	return report, nil
}

// startError tells the user what a monitor reported.
func startError(cfg monitor.Config, r *api.Ready) error {
	text := r.Problem
	if (r.Hung || r.Crashed) && cfg.Attempt > 1 {
		text += fmt.Sprintf(", in %d tries", cfg.Attempt)
	}
	if r.Console != "" {
		text += "; the last lines of its console: " + strings.ReplaceAll(r.Console, "\n", " | ")
	}
	hint := r.Hint
	if hint == "" {
		hint = "see " + filepath.Join(cfg.Dir, logs.ConsoleFile) + " and " + logs.ToolsFile + " beside it"
	}
	return &drivers.Error{Op: "start the VM", Err: errors.New(text), Hint: hint}
}
