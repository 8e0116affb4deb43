package guest

import "openshell-vm/internal/vocab"

// Message is one control message, the JSON payload of a stream.Control frame. Exactly
// one field is set. Exec and Door open a session of its own; all others travel in session 0.
// Both sides ignore messages that they do not know, so either may be newer.
type Message struct {
	// Guest to host.
	Hello   *Hello   `json:"hello,omitempty"`   // the init has read the boot spec
	Started *Started `json:"started,omitempty"` // the workload runs
	Ending  *Ending  `json:"ending,omitempty"`  // the workload ended; the last of its output follows
	Exited  *Exited  `json:"exited,omitempty"`  // the workload ended; shutdown follows
	Seen    *Seen    `json:"seen,omitempty"`    // the guest's view of the share moved on
	Failed  *Failed  `json:"failed,omitempty"`  // the boot failed; power-off follows
	Mirror  *Mirror  `json:"mirror,omitempty"`  // a mirror of a share is used, or is not any more

	SeenShare *SeenShare `json:"seenShare,omitempty"` // Seen, for another share than the sandbox's own
	Clock     *Clock     `json:"clock,omitempty"`     // answer to AskClock

	Progress *Progress `json:"progress,omitempty"` // about once a second while a boot takes long

	// Host to guest.
	Start    *Start    `json:"start,omitempty"`    // answer to Hello: go on
	Stop     *Stop     `json:"stop,omitempty"`     // SIGTERM to the workload, SIGKILL after the grace
	Signal   *Signal   `json:"signal,omitempty"`   // to the workload
	SetClock *SetClock `json:"setClock,omitempty"` // after the host woke up or stepped its clock
	Exec     *Exec     `json:"exec,omitempty"`     // new session; Exit or Error frame ends it

	Door *Door `json:"door,omitempty"` // new session, for the next one who asks the gateway

	AskClock  *AskClock  `json:"askClock,omitempty"`  // answered at once by Clock
	StepClock *StepClock `json:"stepClock,omitempty"` // after an answer that shows a wrong clock
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

// Ending says that all processes but the init are gone. The init still sends the output
// that it has: at most what two pipes and the port hold.
type Ending struct{}

// Exited reports how the workload ended. Code is 128+n after signal n; it is 126 or 127
// if the workload could not be run, and Reason says why.
type Exited struct {
	Code   int    `json:"code"`
	Reason string `json:"reason,omitempty"`
}

// Seen reports which generation one gets in the guest by opening the token path now.
type Seen struct {
	Generation uint64 `json:"generation"`
	UnixNano   int64  `json:"unixNano"` // guest clock
}

// SeenShare reports which generation one gets of one of BootSpec.Shares by opening a file of it now.
type SeenShare struct {
	Name       string `json:"name"` // ShareName
	Generation uint64 `json:"generation"`
}

// Mirror reports why a mirror's paths lead to the share itself. An empty Problem says that they lead
// to the mirror again.
type Mirror struct {
	Problem string `json:"problem,omitempty"`
}

// Failed reports in one line why a boot can't go on.
type Failed struct {
	Reason string `json:"reason"`
	Hint   string `json:"hint,omitempty"`
}

// Progress says how many files of the root a boot has prepared. If they are more than
// before, the boot's deadline counts anew.
type Progress struct {
	Files uint64 `json:"files"`
	Of    uint64 `json:"of,omitempty"` // all files; 0 if that is not known
}

// Stop asks for an orderly end.
type Stop struct {
	GraceNano int64 `json:"graceNano"`
}

// Signal sends a signal to the workload's main process.
type Signal struct {
	Number int `json:"number"`
}

// SetClock sets the guest's realtime clock.
type SetClock struct {
	UnixNano int64 `json:"unixNano"`
}

// AskClock asks for the guest's clock. The answer has the same Number.
type AskClock struct {
	Number uint64 `json:"number"`
}

// Clock is the guest's clock, read between the question and its answer.
type Clock struct {
	Number   uint64 `json:"number"`
	UnixNano int64  `json:"unixNano"`
	// Processes is how many there are beside the init and the kernel's own; 0 if the guest
	// does not know.
	Processes int64 `json:"processes,omitempty"`
}

// StepClock moves the guest's clock by a span. Unlike SetClock it stays right however
// long the message is under way.
type StepClock struct {
	Nano int64 `json:"nano"` // negative: back
}

// Exec runs a command. Its streams use the frame's session. An init or a monitor that does
// not know Copy or Launch sees an Exec without a command, and refuses it with NoCommand.
type Exec struct {
	Process vocab.Process `json:"process"`
	Stdin   bool          `json:"stdin"`

	Copy   *vocab.CopyTask `json:"copy,omitempty"`   // copies files, in place of a command
	Launch *vocab.Process  `json:"launch,omitempty"` // this command, which goes on when the session has ended
}

// Door opens a session for the next connection to the sandbox's socket of the gateway. What is
// written to the connection comes as Stdout, and its answer goes as Stdin; StdinClose ends it from
// the host's side, Exit from the guest's. An init that does not know it leaves the session unused.
type Door struct{}

// NoCommand is how an init refuses an Exec that has nothing to run. Clients compare it, so it
// never changes.
const NoCommand = "there is no command"
