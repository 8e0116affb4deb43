// Package place is where an engine listens, how it is found, and what is told if it can't be
// reached.
package place

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/container/said"
)

// Place is where an engine listens, or was looked for last.
type Place struct {
	Engine string // as people write it: Docker, Podman
	Host   string // unix:///…, tcp://…; "" if it was not looked for yet
	From   string // what named it: see FromVariable, FromDefault
	Hints  Hints
	Absent string // the usual socket, if nothing listens there and another was taken
}

// Hints are what to do about an engine that cannot be reached.
type Hints struct {
	Missing string // its socket is not there
	Denied  string // this user may not use it
	Dead    string // the socket is there and nobody listens
}

// FromDefault is Place.From where nothing names an engine.
const FromDefault = "the default"

// FromVariable is Place.From for a variable of the gateway's environment.
func FromVariable(name string) string { return "from " + name }

// Where is the address and what named it.
func (p Place) Where() string {
	if p.From == "" {
		return p.Host
	}
	return p.Host + " (" + p.From + ")"
}

// Socket is the unix socket; "" if it is none.
func (p Place) Socket() string {
	path, ok := strings.CutPrefix(p.Host, "unix://")
	if !ok || path == "" {
		return ""
	}
	return "/" + strings.TrimPrefix(path, "/")
}

// Dial connects once to see that an engine listens. If none does, its error says why;
// the clients' errors do not. Without a unix socket it does nothing.
func (p Place) Dial(op string) error {
	if p.Socket() == "" {
		return nil
	}
	conn, err := net.DialTimeout("unix", p.Socket(), time.Second)
	switch {
	case err == nil:
		return conn.Close()
	case errors.Is(err, os.ErrNotExist):
		return p.fault(op, errors.New("the socket does not exist"), p.Hints.Missing)
	case errors.Is(err, os.ErrPermission):
		return p.fault(op, errors.New("permission denied"), p.Hints.Denied)
	case errors.Is(err, syscall.ECONNREFUSED):
		return p.fault(op, errors.New("nothing listens there"), p.Hints.Dead)
	}
	return p.fault(op, cause(err), p.Hints.Dead)
}

// Unreachable gives the line for a connection that failed with err.
func (p Place) Unreachable(op string, err error) error {
	if p.Socket() == "" {
		return p.fault(op, cause(err), "check that an engine listens there, and its certificates")
	}
	if err := p.Dial(op); err != nil {
		return err
	}
	line := fmt.Sprintf("%s at %s broke off: %s", p.Engine, p.Where(), said.FirstLine(err))
	return &drivers.Error{Op: op, Err: &unreachable{&said.Plainly{Text: line, Err: err}}, Hint: p.Hints.Dead}
}

// Late gives the line for a request that was not answered in time.
func (p Place) Late(op string, err error) error {
	if !errors.Is(err, context.DeadlineExceeded) || p.Host == "" {
		return err
	}
	return &drivers.Error{Op: op, Err: &said.Plainly{
		Text: fmt.Sprintf("%s at %s does not answer in time", p.Engine, p.Where()), Err: err},
		Hint: fmt.Sprintf("see whether `%s ps` answers; if not, restart the engine", strings.ToLower(p.Engine))}
}

// Explain gives the line for a request that failed with err. broken says that err is
// about the connection. A drivers.Error and a cancelled call's error stay as they are.
func (p Place) Explain(op string, err error, broken bool) error {
	var known *drivers.Error
	switch {
	case errors.As(err, &known) || errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, context.DeadlineExceeded):
		return p.Late(op, err)
	case broken:
		return p.Unreachable(op, err)
	}
	return said.Plain(op, err)
}

// Refuse is for an address that can't be used at all.
func (p Place) Refuse(err error, hint string) error { return p.fault("", err, hint) }

func (p Place) fault(op string, err error, hint string) error {
	if name, ok := strings.CutPrefix(p.From, "from "); ok && name == strings.ToUpper(name) {
		hint = "correct or unset " + name + ", then openshell-vm gateway restart; or " + hint
	}
	return &drivers.Error{Op: op, Err: &unreachable{fmt.Errorf("cannot connect to %s at %s: %w", p.Engine, p.Where(), err)}, Hint: hint}
}

// unreachable marks an error that is about the engine itself, and not about the
// request.
type unreachable struct{ error }

func (u *unreachable) Unwrap() error { return u.error }

// IsUnreachable reports whether an error is about the engine itself, and not about the request.
func IsUnreachable(err error) bool {
	var u *unreachable
	return errors.As(err, &u)
}

// cause is the kernel's word for a failed connection, else all of the text.
func cause(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	if said.Any(err.Error(), "Cannot connect to the Docker daemon") { // all that its client says
		return errors.New("nothing answers there")
	}
	return errors.New(said.FirstLine(err))
}

// Default finds the engine where nothing names one. It is the one to stay with, if
// that is one of these sockets. Else it is the first that something listens on.
func (p Place) Default(stay string, sockets ...string) Place {
	p.From = FromDefault
	for _, path := range sockets {
		if stay == "unix://"+path {
			p.Host, p.From = stay, "where its sandboxes are"
			return p
		}
	}
	path := FirstListening(sockets...)
	p.Host = "unix://" + path
	if path != sockets[0] {
		p.Absent, p.From = sockets[0], "the default, for nothing listens at "+sockets[0]
	}
	return p
}

// FirstListening is the first of the sockets that something listens on. If nothing
// listens anywhere it is the first of all.
func FirstListening(sockets ...string) string {
	for _, path := range sockets {
		if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
			conn.Close()
			return path
		}
	}
	return sockets[0]
}

// UserSocket is the path of the socket of that name of this user's rootless engine.
func UserSocket(name string) string {
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" {
		dir = "/run/user/" + strconv.Itoa(os.Getuid())
	}
	return filepath.Join(dir, name)
}
