package container

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"openshell-vm/drivers"
)

// Exit codes of a workload that could not be run.
const (
	cannotExecute = 126
	notFound      = 127
)

// execFailure tells an engine's "the command could not be run" from its other
// failures, by the words that runc and crun have for it: 126 if it is there
// but can't be executed, 127 if it isn't, 0 if err is something else.
func execFailure(err error) int {
	text := strings.ToLower(err.Error())
	if containsAny(text, "error mounting", "bind source path", "mounting \"") ||
		!containsAny(text, "exec: ", "executable", "exec /", "stat /") {
		return 0
	}
	switch {
	case containsAny(text, "executable file not found", "executable file `", "no such file or directory"):
		return notFound
	case containsAny(text, "permission denied", "is a directory", "exec format error", "not a directory"):
		return cannotExecute
	}
	return 0
}

func containsAny(text string, words ...string) bool {
	for _, w := range words {
		if strings.Contains(text, w) {
			return true
		}
	}
	return false
}

// firstLine makes one line of an engine's error: runc's have several, and a
// chain of prefixes that say nothing to a user.
func firstLine(err error) string {
	line, _, _ := strings.Cut(strings.TrimSpace(err.Error()), "\n")
	for _, noise := range []string{
		"Error response from daemon: ", "failed to create shim: ", "failed to create task for container: ",
		"failed to create shim task: ", "OCI runtime create failed: ", "runc create failed: ", "OCI runtime error: ",
		"container_linux.go:380: ", "starting container process caused: ", "unable to start container process: ",
	} {
		line = strings.ReplaceAll(line, noise, "")
	}
	return strings.TrimSpace(line)
}

// Hints are what to do about an engine that cannot be reached.
type Hints struct {
	Missing string // its socket is not there
	Denied  string // this user may not use it
	Dead    string // the socket is there and nobody listens
}

// Dial connects once to see that an engine listens, because the clients'
// errors do not say what is wrong if it does not.
func Dial(op, socket string, hints Hints) error {
	conn, err := net.DialTimeout("unix", socket, time.Second)
	switch {
	case err == nil:
		return conn.Close()
	case errors.Is(err, os.ErrNotExist):
		return &drivers.Error{Op: op, Err: fmt.Errorf("%s does not exist", socket), Hint: hints.Missing}
	case errors.Is(err, os.ErrPermission):
		return &drivers.Error{Op: op, Err: fmt.Errorf("permission denied on %s", socket), Hint: hints.Denied}
	case errors.Is(err, syscall.ECONNREFUSED):
		return &drivers.Error{Op: op, Err: fmt.Errorf("nothing listens on %s", socket), Hint: hints.Dead}
	}
	return &drivers.Error{Op: op, Err: err, Hint: hints.Dead}
}

// Unreachable gives the line for a connection that failed with cause.
func Unreachable(op, socket string, cause error, hints Hints) error {
	if err := Dial(op, socket, hints); err != nil {
		return err
	}
	return &drivers.Error{Op: op, Err: fmt.Errorf("the engine at %s broke off: %s", socket, firstLine(cause)), Hint: hints.Dead}
}

// explainPull gives the line for an image that cannot be had.
func (d *Driver) explainPull(image string, err error) error {
	op := "fetch image " + image
	text := strings.ToLower(err.Error())
	switch {
	case containsAny(text, "invalid reference format", "invalid image reference", "repository name must be"):
		return &drivers.Error{Op: op, Err: errors.New("that is not an image's name"),
			Hint: "write [REGISTRY/]NAME[:TAG], the name in lower case"}
	case containsAny(text, "manifest unknown", "not found", "access denied", "unauthorized", "is denied", "name unknown", "did not resolve"):
		return &drivers.Error{Op: op, Err: errors.New("the registry has no such image, or wants a login"),
			Hint: fmt.Sprintf("check the name; `%s images` lists what is here, `%s login` logs in", d.Name(), d.Name())}
	case containsAny(text, "dial tcp", "no such host", "lookup ", "timeout", "network is unreachable", "tls", "connection refused"):
		return &drivers.Error{Op: op, Err: fmt.Errorf("the registry can't be reached: %s", lastPart(err)),
			Hint: fmt.Sprintf("check the network, or bring the image with `%s load`", d.Name())}
	}
	return d.engine.Explain(op, err)
}

// lastPart is the innermost cause that a chain of "a: b: c" names.
func lastPart(err error) string {
	parts := strings.Split(firstLine(err), ": ")
	return strings.Join(parts[max(0, len(parts)-2):], ": ")
}

// Plain makes one line of an engine's error, without a hint.
func Plain(op string, err error) error {
	return &drivers.Error{Op: op, Err: &plain{firstLine(err), err}}
}

// plain is an error with a shorter text.
type plain struct {
	line string
	err  error
}

func (p *plain) Error() string { return p.line }
func (p *plain) Unwrap() error { return p.err }

// Line is the first line of an engine's message without the prefixes that say nothing.
func Line(message string) string {
	if message == "" {
		return ""
	}
	return firstLine(errors.New(message))
}

// IsBroken says whether a connection failed or ended in the middle.
func IsBroken(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
