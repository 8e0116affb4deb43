package vm

import (
	"errors"
	"strings"
	"sync"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/jail"
)

// confinement remembers what this host could give a jail when it was last
// tried. An error is not remembered.
type confinement struct {
	mu     sync.Mutex
	report *jail.Report
}

// tryJail makes a trial jail, which takes some milliseconds.
func (d *Driver) tryJail() (jail.Report, error) {
	report, err := jail.Support(d.libexec(monitorProgram))
	d.confinement.mu.Lock()
	defer d.confinement.mu.Unlock()
	d.confinement.report = &report
	if err != nil {
		d.confinement.report = nil
	}
	return report, err
}

// jailSupport is what a trial jail had, once there was one.
func (d *Driver) jailSupport() (jail.Report, error) {
	d.confinement.mu.Lock()
	known := d.confinement.report
	d.confinement.mu.Unlock()
	if known != nil {
		return *known, nil
	}
	return d.tryJail()
}

// checkJail refuses a host on which a VM can't be confined: at all, or fully
// where that is required of this sandbox or of all.
func (d *Driver) checkJail(required bool) error {
	report, err := d.jailSupport()
	if err != nil {
		return err
	}
	if (required || d.cfg.RequireJail) && len(report.Missing) > 0 {
		return &drivers.Error{
			Op:   "confine the VM",
			Err:  errors.New("this host can't give " + gaps(report)),
			Hint: "leave out --require-jail and unset " + RequireJailEnv + " for a weaker jail, as openshell-vm inspect then shows",
		}
	}
	return nil
}

// gaps lists what a jail lacks, with the reasons.
func gaps(report jail.Report) string {
	var all []string
	for _, gap := range report.Missing {
		all = append(all, gap.Name+" ("+gap.Why+")")
	}
	return strings.Join(all, ", ")
}
