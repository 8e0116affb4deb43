package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/state"
	"openshell-vm/internal/plainfile"
)

// Exit codes of openshell-gateway. A supervisor restarts it after any other code. It also
// restarts it after a refusal, if nobody waits for the start: the cause may pass.
const (
	ExitOrderly = 0   // it was stopped, or nothing needed it any more
	ExitTaken   = 3   // another gateway holds the state directory
	ExitRefused = 125 // the state directory or the keys can't be used now
)

const (
	restartFirst   = 50 * time.Millisecond // after a death; doubles
	restartLongest = 10 * time.Second
	restartReset   = 10 * time.Second // a gateway that lived this long begins the doubling anew
)

// Supervise runs a gateway (program args…). It runs the gateway again when that dies, until
// it ends by itself, and returns the exit code. SIGTERM and SIGINT are passed on and end it.
// The gateway's last words, such as the stack of a panic, go to its log.
//
// Only the first gateway's refusal is final: whoever waits for the start reads it on stderr.
// After a later refusal, as after a death, Supervise tries again. A file system may be
// read-only or not mounted for a moment, descriptors may be short, or the program may be
// just being replaced. If the state directory was deleted, it is not made anew, and
// Supervise ends.
func Supervise(program string, args ...string) int {
	// Our starter may be gone. Writing to its pipe must not kill us.
	signal.Ignore(syscall.SIGPIPE, syscall.SIGHUP)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	place := newLandmark()
	delay, said := &restartDelay{}, ""
	for first := true; ; first = false {
		began := time.Now()
		last := &tail{}
		code := runOnce(ctx, last, place.used, program, args...)
		switch {
		case code == ExitOrderly || ctx.Err() != nil || first && (code == ExitTaken || code == ExitRefused):
			_, _ = os.Stderr.Write(last.bytes()) // perhaps nobody reads it any more
			return code
		case code == ExitTaken && api.Listens(ctx): // another gateway, with a supervisor of its own
			return code
		}
		if now := string(last.bytes()); now != said { // log it once, not at each try
			said = now
			appendLog(last.bytes())
		}
		if time.Since(began) > restartReset {
			delay = &restartDelay{}
		}
		if place.await(ctx, delay) != nil {
			return code
		}
	}
}

// restartDelay is the time until the next try. It doubles up to restartLongest. The zero
// value begins with restartFirst.
type restartDelay struct{ last time.Duration }

// wait waits for the next delay. If ctx ends before, it returns an error.
func (r *restartDelay) wait(ctx context.Context) error {
	r.last = min(max(2*r.last, restartFirst), restartLongest)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(r.last):
		return nil
	}
}

// Persist calls open until it succeeds. It is for a gateway that systemd restarts, where
// perhaps nobody reads an error. So an error is final only if told reports that somebody
// read it, if another gateway serves, or if ctx ends.
func Persist(ctx context.Context, open func() error, told func(error) bool) error {
	for delay := (restartDelay{}); ; {
		err := open()
		if err == nil || errors.Is(err, state.ErrTaken) && api.Listens(ctx) || told(err) || delay.wait(ctx) != nil {
			return err
		}
	}
}

// runOnce runs the gateway until it ends, and returns its exit code; -1 means that a signal
// ended it. A gateway that could not be started counts as refused. onlyOld lets it make no
// new state directory.
func runOnce(ctx context.Context, stderr io.Writer, onlyOld bool, program string, args ...string) int {
	cmd := exec.CommandContext(ctx, program, args...)
	if onlyOld {
		cmd.Env = append(os.Environ(), state.EnvOnlyOld+"=1")
	}
	cmd.Stderr = stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Second // sandboxes' processes may have stderr open, too
	if err := cmd.Start(); err != nil {
		fmt.Fprintf(stderr, "openshell-gateway: start it: %v\n", err)
		return ExitRefused
	}
	_ = cmd.Wait() // the exit code says it all
	return cmd.ProcessState.ExitCode()
}

// appendLog appends a dead gateway's last words to its log.
func appendLog(text []byte) {
	dir, err := api.StateDir()
	if err != nil || len(text) == 0 {
		return
	}
	file, err := plainfile.Open(filepath.Join(dir, state.LogFile), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return
	}
	defer file.Close()
	_, _ = file.Write(text) // there is no other place to report to
}
