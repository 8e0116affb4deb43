package host

import (
	"errors"
	"fmt"
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
func (h *Host) tryJail() (jail.Report, error) {
	report, err := jail.Support(h.Program(MonitorProgram))
	h.confinement.mu.Lock()
	defer h.confinement.mu.Unlock()
	h.confinement.report = &report
	if err != nil {
		h.confinement.report = nil
	}
	return report, err
}

// jailSupport is what a trial jail had, once there was one.
func (h *Host) jailSupport() (jail.Report, error) {
	h.confinement.mu.Lock()
	known := h.confinement.report
	h.confinement.mu.Unlock()
	if known != nil {
		return *known, nil
	}
	return h.tryJail()
}

// CheckJail refuses a host on which a VM can't be confined: at all, or fully
// where that is required of this sandbox or of all.
func (h *Host) CheckJail(required bool) error {
	report, err := h.jailSupport()
	if err != nil {
		return err
	}
	if (required || h.RequireJail) && len(report.Missing) > 0 {
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

// fewDescriptors is less than large source trees have files.
const fewDescriptors = 64 << 10

// JailFacts tries a jail anew and tells what it had. The error is what CheckJail
// will say of any VM.
func (h *Host) JailFacts() (facts []drivers.Fact, err error) {
	fact := func(name, format string, args ...any) {
		facts = append(facts, drivers.Fact{Name: name, Value: fmt.Sprintf(format, args...)})
	}
	report, err := h.tryJail()
	switch {
	case err != nil:
		fact("jail", "can't be made: %v", err)
	case len(report.Missing) > 0:
		fact("jail", "%s", report.Verdict())
	case h.uid == 0:
		fact("jail", "complete (Landlock %d); root's file servers keep CAP_DAC_READ_SEARCH and CAP_FOWNER, "+
			"to serve the files of all users", report.LandlockABI)
	default:
		fact("jail", "complete (Landlock %d)", report.LandlockABI)
	}
	if err == nil && report.NoFile < fewDescriptors {
		fact("open files", "at most %d of the host's in use by a guest; a higher hard limit (ulimit -Hn) allows more", report.NoFile)
	}
	return facts, h.CheckJail(false)
}
