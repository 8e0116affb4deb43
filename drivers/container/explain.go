package container

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"openshell-vm/drivers"
	"openshell-vm/drivers/container/place"
	"openshell-vm/drivers/container/said"
	"openshell-vm/internal/mounts"
)

// explainMount gives the line for a container that could not be made or started. The
// cause is often a source that this process sees and the engine does not.
func explainMount(engine Engine, op string, spec drivers.Spec, err error) error {
	if said.Any(err.Error(), "bind source path does not exist", "no such file or directory", "statfs ") {
		all := shownOf(spec)
		for _, m := range spec.AllShares() {
			all = append(all, shown{m.Source(), m.Target()})
		}
		for _, m := range all {
			if !said.Any(err.Error(), m.source) {
				continue
			}
			if vanished := checkSource(m.source); vanished != nil {
				return vanished
			}
			return elsewhere(engine, m.source, "does not have it")
		}
	}
	if known := explainSubmounts(engine, err, spec.Mounts); known != nil {
		return known
	}
	if known := explainProcess(op, err); known != nil {
		return known
	}
	if said.Any(err.Error(), "within the daemon root") {
		return &drivers.Error{Op: op,
			Err:  fmt.Errorf("%s mounts no directory that contains its own data: %s", engine.Name(), said.FirstLine(err)),
			Hint: "mount the directories below it that the sandbox needs"}
	}
	if said.Any(err.Error(), `mounting "tmpfs"`) {
		return &drivers.Error{Op: op, Err: fmt.Errorf("a directory with keys or tokens can't be covered: %s", said.FirstLine(err)),
			Hint: "mount a directory that does not contain openshell-vm's own"}
	}
	if said.Any(err.Error(), "force-recursive", "recursively read-only", "recursive read-only") {
		return &drivers.Error{Op: op, Err: errors.New(said.FirstLine(err)),
			Hint: "a kernel of 5.12 or later is needed for mounts that are read-only with all submounts"}
	}
	return engine.Explain(op, err)
}

// explainSubmounts gives the line for a directory with mounts below it. An engine in
// a user namespace can't mount that: the kernel does not let it leave out mounts,
// because what they cover would show. It is nil if err is about something else.
func explainSubmounts(engine Engine, err error, wanted []drivers.Mount) error {
	text := strings.ToLower(err.Error())
	if !said.Any(text, "mounting", "mount `") || !said.Any(text, "invalid argument") {
		return nil
	}
	table, failed := mounts.Read(mounts.Self)
	if failed != nil {
		return nil
	}
	for _, m := range wanted {
		if !said.Any(err.Error(), m.Source()) {
			continue
		}
		for _, e := range table {
			if mounts.Below(e.Point, m.Source()) {
				return &drivers.Error{Op: "mount " + m.Source(),
					Err: fmt.Errorf("%s is mounted below it, which %s in a user namespace can neither leave out nor make read-only",
						e.Point, engine.Name()),
					Hint: "mount directories that have no mounts below them, each by a --mount of its own"}
			}
		}
	}
	return nil
}

// elsewhere refuses an engine that does not see this host's directories.
func elsewhere(engine Engine, source, how string) error {
	if blind, ok := engine.(Blind); ok {
		if hint := blind.BlindTo(source); hint != "" {
			return &drivers.Error{Op: "mount " + source, Err: fmt.Errorf("%s %s", engine.Name(), how), Hint: hint}
		}
	}
	return &drivers.Error{
		Op:   "mount " + source,
		Err:  fmt.Errorf("%s %s: it runs on another machine or sees other mounts", engine.Name(), how),
		Hint: fmt.Sprintf("use the %s of this machine, and a state directory outside /tmp", engine.Name()),
	}
}

// explainPull gives the line for an image that cannot be had.
func explainPull(engine Engine, image string, err error) error {
	op := "fetch image " + image
	// First of all: an engine that can't be reached has the words of such a registry.
	explained := engine.Explain(op, err)
	if place.IsUnreachable(explained) {
		return explained
	}
	text := strings.ToLower(err.Error())
	switch {
	case said.Any(text, "invalid reference format", "invalid image reference", "repository name must be"):
		return &drivers.Error{Op: op, Err: errors.New("that is not an image's name"),
			Hint: "write [REGISTRY/]NAME[:TAG], the name in lower case"}
	case said.Any(text, "short-name", "unqualified-search"):
		return &drivers.Error{Op: op,
			Err: fmt.Errorf("%s does not know which registry a short name is of: %s", engine.Name(), shortNameCause(text)),
			Hint: fmt.Sprintf("give the full name, such as %s; or name registries as unqualified-search-registries "+
				"in /etc/containers/registries.conf", fullName(image))}
	case said.Any(text, "manifest unknown", "not found", "access denied", "unauthorized", "is denied",
		"name unknown", "did not resolve"):
		return &drivers.Error{Op: op, Err: errors.New("the registry has no such image, or wants a login"),
			Hint: fmt.Sprintf("check the name; `%s images` lists what is here, `%s login` logs in", engine.Name(), engine.Name())}
	case said.Any(text, "dial tcp", "no such host", "lookup ", "timeout", "network is unreachable", "tls", "connection refused"):
		return &drivers.Error{Op: op, Err: fmt.Errorf("the registry can't be reached: %s", lastPart(err)),
			Hint: fmt.Sprintf("check the network, or bring the image with `%s load`", engine.Name())}
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

// fullName is the name that docker takes a short one for: on Docker Hub.
func fullName(image string) string {
	if strings.Contains(image, "/") {
		return "docker.io/" + image
	}
	return "docker.io/library/" + image
}

// lastPart is the innermost cause that a chain of "a: b: c" names.
func lastPart(err error) string {
	parts := strings.Split(said.FirstLine(err), ": ")
	return strings.Join(parts[max(0, len(parts)-2):], ": ")
}

// explainExec is for a command that was not begun.
func explainExec(engine Engine, err error) error {
	const op = "run a command in the container"
	if errors.Is(err, drivers.ErrNotRunning) || errors.Is(err, drivers.ErrNotFound) {
		return err
	}
	if known := explainProcess(op, err); known != nil {
		return known
	}
	return engine.Explain(op, err)
}

// onContainer is what Podman puts behind a directory's name.
var onContainer = regexp.MustCompile(` on container [0-9a-f]{64}`)

// explainProcess gives the line for a user or a directory that the image has not;
// nil if err is about something else.
func explainProcess(op string, err error) error {
	text := onContainer.ReplaceAllString(said.FirstLine(err), "")
	hint := ""
	switch {
	case said.Any(text, "unable to find user", "unable to find group", "no matching entries in"):
		hint = "name a user of the image's /etc/passwd and a group of its /etc/group, or give numbers"
	case said.Any(text, "workdir ", "working directory", "chdir to cwd", "Cannot mkdir"):
		hint = "name a directory of the image, or leave --workdir out"
	case said.Any(text, "is paused"):
		text, hint = "it is paused", "unpause it with its engine's own command, or stop and start it"
	default:
		return nil
	}
	return &drivers.Error{Op: op, Err: &said.Plainly{Text: text, Err: err}, Hint: hint}
}

// answered says that the engine did answer: err is about what it was asked, and not
// about the way to it.
func answered(ctx context.Context, engine Engine, err error) bool {
	return ctx.Err() == nil && !errors.Is(err, context.DeadlineExceeded) && !place.IsUnreachable(engine.Explain("", err))
}
