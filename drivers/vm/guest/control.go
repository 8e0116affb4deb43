package guest

import "openshell-vm/drivers"

// Message is one control message, the JSON payload of a stream.Control frame.
// Exactly one field is set; session 0 carries all but Exec, whose session is
// the exec's own. An unknown message is ignored, so that either side can be
// one version ahead.
type Message struct {
	// Guest to host.
	Hello   *Hello   `json:"hello,omitempty"`   // first, once the init can mount the boot spec
	Started *Started `json:"started,omitempty"` // the workload runs
	Ending  *Ending  `json:"ending,omitempty"`  // the workload ended; the last of its output follows
	Exited  *Exited  `json:"exited,omitempty"`  // the workload ended; shutdown follows
	Seen    *Seen    `json:"seen,omitempty"`    // the guest's view of the share moved on
	Failed  *Failed  `json:"failed,omitempty"`  // the boot failed; power-off follows
	Clock   *Clock   `json:"clock,omitempty"`   // answer to AskClock

	Progress *Progress `json:"progress,omitempty"` // of a boot that takes long, about once a second

	// Host to guest.
	Start    *Start    `json:"start,omitempty"`    // answer to Hello: go on
	Stop     *Stop     `json:"stop,omitempty"`     // SIGTERM to the workload, SIGKILL after the grace
	Signal   *Signal   `json:"signal,omitempty"`   // to the workload
	SetClock *SetClock `json:"setClock,omitempty"` // after the host woke up or stepped its clock
	Exec     *Exec     `json:"exec,omitempty"`     // new session; Exit or Error frame ends it

	AskClock  *AskClock  `json:"askClock,omitempty"`  // answered at once by Clock
	StepClock *StepClock `json:"stepClock,omitempty"` // after an answer that was wrong
}

// Hello is the init's greeting.
type Hello struct {
	Version int    `json:"version"`
	Kernel  string `json:"kernel"` // uname -r
}

// Start tells the init to run the workload.
type Start struct {
	UnixNano int64 `json:"unixNano"` // the host's clock; the guest's is set to it
}

// Started reports the workload's process id in the guest.
type Started struct {
	PID int `json:"pid"`
}

// Ending says that nothing writes output any more but the init, which sends what it
// has: at most what two pipes and the port hold.
type Ending struct{}

// Exited reports how the workload ended: 128+n after signal n, 126 and 127 when
// it could not be run, with Reason saying why.
type Exited struct {
	Code   int    `json:"code"`
	Reason string `json:"reason,omitempty"`
}

// Seen reports the generation that opening the token path gives in the guest now.
type Seen struct {
	Generation uint64 `json:"generation"`
	UnixNano   int64  `json:"unixNano"` // guest clock
}

// Failed reports a boot that cannot go on: one line.
type Failed struct {
	Reason string `json:"reason"`
	Hint   string `json:"hint,omitempty"`
}

// Progress says how many files of its root a boot has prepared. The deadline counts
// anew when they are more than before.
type Progress struct {
	Files uint64 `json:"files"`
	Of    uint64 `json:"of,omitempty"` // 0 where it is not known
}

// Stop asks for an orderly end.
type Stop struct {
	GraceNano int64 `json:"graceNano"`
}

// Signal is for the workload's main process.
type Signal struct {
	Number int `json:"number"`
}

// SetClock sets the guest's realtime clock.
type SetClock struct {
	UnixNano int64 `json:"unixNano"`
}

// AskClock asks for the guest's clock. Number is the answer's, too.
type AskClock struct {
	Number uint64 `json:"number"`
}

// Clock is the guest's clock at some time between the question and its answer.
type Clock struct {
	Number   uint64 `json:"number"`
	UnixNano int64  `json:"unixNano"`
}

// StepClock moves the guest's clock, by a span and not to a time: how long the
// message takes does not matter.
type StepClock struct {
	Nano int64 `json:"nano"` // negative: back
}

// Exec runs a further command; its streams use the frame's session.
type Exec struct {
	Process drivers.Process `json:"process"`
	Stdin   bool            `json:"stdin"`
}
