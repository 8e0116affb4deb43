package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// startDeadline bounds how long a gateway may take until it listens. Before it listens, it
// repairs and renews every share.
const startDeadline = 30 * time.Second

// How often to try a gateway that is ending, and the pause between two tries.
const (
	endingTries = 50
	endingWait  = 100 * time.Millisecond
)

// EnsureStarted connects to this environment's gateway. If none listens, it starts one first.
// Callers that do so at the same time get the same gateway. gateway is the path of
// openshell-gateway; "" means the one that is installed with the running program. If the
// gateway can't start, the error is its own *Error.
func EnsureStarted(ctx context.Context, gateway string) (*Client, error) {
	client, err := connectPatiently(ctx)
	if !errors.Is(err, ErrNotRunning) {
		return client, err
	}
	if gateway == "" {
		if gateway, err = Sibling("openshell-gateway"); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, startDeadline)
	defer cancel()
	if err := runStart(ctx, gateway); err != nil {
		return nil, err
	}
	return connectPatiently(ctx)
}

// connectPatiently is Connect. While the gateway that it meets is ending, it tries again.
func connectPatiently(ctx context.Context) (*Client, error) {
	for tries := 1; ; tries++ {
		client, err := Connect(ctx)
		if !errors.Is(err, errEnded) || tries == endingTries {
			return client, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(endingWait):
		}
	}
}

// runStart runs `openshell-gateway start`, which returns once a gateway listens.
func runStart(ctx context.Context, gateway string) error {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, gateway, "start")
	cmd.Dir = "/"
	cmd.Stderr = &stderr
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if err == nil {
		return nil
	}
	if ctx.Err() == context.DeadlineExceeded {
		return notListening()
	}
	e := parseLines(stderr.String(), err)
	if strings.HasPrefix(e.Hint, "openshell-gateway --help") { // it does not know the command
		return &Error{Code: CodeInternal, Message: fmt.Sprintf("start the gateway: %s is of another version than this program", gateway),
			Hint: installTogether}
	}
	return e
}

// installTogether is the hint if programs are missing or of different versions.
const installTogether = "install all of openshell-vm's programs together"

// notListening returns the error for a gateway that does not listen in time. If the last one
// listened elsewhere, the error says where: that one may still hold the state directory.
func notListening() error {
	e := &Error{Code: CodeInternal, Message: fmt.Sprintf("start the gateway: it does not listen after %s", startDeadline),
		Hint: "read gateway.log in the state directory"}
	state, err := StateDir()
	if err != nil {
		return e
	}
	id, err := ReadIdentity(state)
	if err != nil {
		return e
	}
	if dir, err := RuntimeDir(state, id); err == nil && id.RuntimeDir != "" && dir != id.RuntimeDir {
		e.Message = fmt.Sprintf("start the gateway: it does not listen in %s after %s; the last one of %s listens in %s",
			dir, startDeadline, state, id.RuntimeDir)
		e.Hint = "if that one still runs, outside this container or with another " + EnvRuntimeDir + ", let this " +
			"command see its directory; else read gateway.log in the state directory"
	}
	return e
}

// parseLines reads an error as our programs print it: "program: message", then "hint: …".
func parseLines(printed string, cause error) *Error {
	e := &Error{Code: CodeInternal, Message: fmt.Sprintf("start the gateway: %v", cause)}
	for line := range strings.Lines(printed) {
		line = strings.TrimSpace(line)
		if hint, ok := strings.CutPrefix(line, "hint: "); ok {
			e.Hint = hint
		} else if line != "" {
			e.Message = strings.TrimPrefix(line, "openshell-gateway: ")
		}
	}
	return e
}

// Sibling finds another program of this project, beside the running one or in
// ../libexec/openshell-vm from there.
func Sibling(name string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	if self, err = filepath.EvalSymlinks(self); err != nil {
		return "", err
	}
	dir := filepath.Dir(self)
	for _, path := range []string{filepath.Join(dir, name), filepath.Join(dir, "../libexec", projectDir, name)} {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", &Error{Code: CodeInternal, Message: fmt.Sprintf("%s is neither in %s nor in %s",
		name, dir, filepath.Join(dir, "../libexec", projectDir)),
		Hint: installTogether}
}
