package host

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/jail"
)

// confinement remembers what the last trial jail had. It does not remember an error.
type confinement struct {
	mu     sync.Mutex
	report *jail.Report
}

// tryJail makes a trial jail. That takes some milliseconds.
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

// jailSupport returns what the last trial jail had. It makes one if there was none.
func (h *Host) jailSupport() (jail.Report, error) {
	h.confinement.mu.Lock()
	known := h.confinement.report
	h.confinement.mu.Unlock()
	if known != nil {
		return *known, nil
	}
	return h.tryJail()
}

// CheckJail refuses a host on which no jail can be made. If a full jail is required, for
// this sandbox or for all, it also refuses a host that can't give that.
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

// gaps lists what a jail lacks, and why.
func gaps(report jail.Report) string {
	var all []string
	for _, gap := range report.Missing {
		all = append(all, gap.Name+" ("+gap.Why+")")
	}
	return strings.Join(all, ", ")
}

// fewDescriptors is fewer than the files of a large source tree.
const fewDescriptors = 64 << 10

// JailFacts makes a trial jail and tells people what it had. The error is what CheckJail
// returns for a VM without requirements of its own.
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
