// Package said makes of what engines say a line for users, and knows by their words why a command
// could not be run.
package said

import (
	"errors"
	"io"
	"net"
	"strings"

	"openshell-vm/drivers"
)

// Exit codes of a workload that could not be run.
const (
	CannotExecute = 126
	NotFound      = 127
)

// ExecFailure knows by the words of runc and crun that a command could not be run. It
// is 127 if the command is not there, 126 if it can't be executed, and 0 if err is
// about something else.
func ExecFailure(err error) int {
	text := strings.ToLower(err.Error())
	if Any(text, "error mounting", "bind source path", "mounting \"") ||
		!Any(text, "exec: ", "executable", "exec /", "stat /") {
		return 0
	}
	switch {
	case Any(text, "executable file not found", "executable file `", "no such file or directory"):
		return NotFound
	case Any(text, "permission denied", "is a directory", "exec format error", "not a directory"):
		return CannotExecute
	}
	return 0
}

// Any reports whether a text has one of the words.
func Any(text string, words ...string) bool {
	for _, w := range words {
		if strings.Contains(text, w) {
			return true
		}
	}
	return false
}

// FirstLine makes one line of an engine's error. It leaves out the prefixes and the
// names of kinds that say nothing to a user.
func FirstLine(err error) string {
	line, _, _ := strings.Cut(strings.TrimSpace(err.Error()), "\n")
	for _, noise := range []string{
		"Error response from daemon: ", "failed to create shim: ", "failed to create task for container: ",
		"failed to create shim task: ", "OCI runtime create failed: ", "runc create failed: ", "OCI runtime error: ",
		"container_linux.go:380: ", "starting container process caused: ", "unable to start container process: ",
	} {
		line = strings.ReplaceAll(line, noise, "")
	}
	for _, noise := range []string{"runc: ", "crun: "} {
		line = strings.TrimPrefix(line, noise)
	}
	for _, noise := range []string{
		": unknown", ": OCI runtime attempted to invoke a command that was not found", ": OCI permission denied", ": OCI runtime error",
	} {
		line = strings.TrimSuffix(line, noise)
	}
	return strings.TrimSpace(line)
}

// Plain makes one line of an engine's error, without a hint.
func Plain(op string, err error) error {
	return &drivers.Error{Op: op, Err: &Plainly{Text: FirstLine(err), Err: err}}
}

// Plainly is an error with a shorter text.
type Plainly struct {
	Text string
	Err  error
}

func (p *Plainly) Error() string { return p.Text }
func (p *Plainly) Unwrap() error { return p.Err }

// Line is the first line of an engine's message without the prefixes that say nothing.
func Line(message string) string {
	if message == "" {
		return ""
	}
	return FirstLine(errors.New(message))
}

// IsBroken says whether a connection failed or ended in the middle.
func IsBroken(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
