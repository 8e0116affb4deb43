package container

import (
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"

	"openshell-vm/drivers"
)

// Exit codes of a workload that could not be run.
const (
	cannotExecute = 126
	notFound      = 127
)

// Paused is the reason of a container that was paused with its engine's own
// command: it runs no further, and its token is renewed all the same.
const Paused = "frozen: its engine was told to pause it; unpause lets it go on"

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

// onContainer is what Podman puts behind a directory's name.
var onContainer = regexp.MustCompile(` on container [0-9a-f]{64}`)

// explainProcess gives the line for a user or a directory that the image has not;
// nil if err is about something else.
func explainProcess(op string, err error) error {
	text := onContainer.ReplaceAllString(firstLine(err), "")
	hint := ""
	switch {
	case containsAny(text, "unable to find user", "unable to find group", "no matching entries in"):
		hint = "name a user of the image's /etc/passwd and a group of its /etc/group, or give numbers"
	case containsAny(text, "workdir ", "working directory", "chdir to cwd", "Cannot mkdir"):
		hint = "name a directory of the image, or leave --workdir out"
	case containsAny(text, "is paused"):
		text, hint = "it is paused", "unpause it with its engine's own command, or stop and start it"
	default:
		return nil
	}
	return &drivers.Error{Op: op, Err: &plain{text, err}, Hint: hint}
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
// chain of prefixes that say nothing to a user, as do the names of their kinds at
// the end.
func firstLine(err error) string {
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

// explainPull gives the line for an image that cannot be had.
func (d *Driver) explainPull(image string, err error) error {
	op := "fetch image " + image
	// First: the words for a registry that can't be reached fit an engine, too.
	explained := d.engine.Explain(op, err)
	var engine *unreachable
	if errors.As(explained, &engine) {
		return explained
	}
	text := strings.ToLower(err.Error())
	switch {
	case containsAny(text, "invalid reference format", "invalid image reference", "repository name must be"):
		return &drivers.Error{Op: op, Err: errors.New("that is not an image's name"),
			Hint: "write [REGISTRY/]NAME[:TAG], the name in lower case"}
	case containsAny(text, "short-name", "unqualified-search"):
		return &drivers.Error{Op: op, Err: fmt.Errorf("%s does not know which registry a short name is of: %s", d.Name(), shortNameCause(text)),
			Hint: fmt.Sprintf("give the full name, such as %s; or name registries as unqualified-search-registries "+
				"in /etc/containers/registries.conf", fullName(image))}
	case containsAny(text, "manifest unknown", "not found", "access denied", "unauthorized", "is denied", "name unknown", "did not resolve"):
		return &drivers.Error{Op: op, Err: errors.New("the registry has no such image, or wants a login"),
			Hint: fmt.Sprintf("check the name; `%s images` lists what is here, `%s login` logs in", d.Name(), d.Name())}
	case containsAny(text, "dial tcp", "no such host", "lookup ", "timeout", "network is unreachable", "tls", "connection refused"):
		return &drivers.Error{Op: op, Err: fmt.Errorf("the registry can't be reached: %s", lastPart(err)),
			Hint: fmt.Sprintf("check the network, or bring the image with `%s load`", d.Name())}
	}
	return explained
}

// shortNameCause is why Podman looks in no registry, from its error in lower case.
func shortNameCause(text string) string {
	if strings.Contains(text, "prompt") {
		return "its configuration has it ask on a terminal each time"
	}
	return "its configuration has no alias for it and names no registry to search"
}

// fullName is what a short name is of Docker Hub, as docker takes it.
func fullName(image string) string {
	if strings.Contains(image, "/") {
		return "docker.io/" + image
	}
	return "docker.io/library/" + image
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
