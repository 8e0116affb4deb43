package podman

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/containers/podman/v5/libpod/define"
	"github.com/containers/podman/v5/pkg/bindings"

	"openshell-vm/drivers"
	"openshell-vm/drivers/container"
)

// systemSocket is where root's Podman service listens.
const systemSocket = "/run/podman/podman.sock"

// engine is a container.Engine.
type engine struct {
	host string

	mu     sync.Mutex // never held while the service is asked
	at     string     // unix:///…, tcp://…: where it was found or looked for last
	conn   *bindings.Connection
	trying *attempt     // to connect, by whoever was first
	info   *define.Info // of the last Probe, or of the first need
}

// attempt is one try to connect, for all who want it at that time.
type attempt struct {
	done chan struct{} // closed at its end; conn and err are set then
	conn *bindings.Connection
	err  error
}

// connectDeadline bounds one attempt. Each call has its own deadline beside it.
const connectDeadline = 10 * time.Second

// Name is container.Engine's.
func (e *engine) Name() string { return "podman" }

// find finds the service as podman --remote does.
func (e *engine) find() string {
	switch host := os.Getenv("CONTAINER_HOST"); {
	case e.host != "":
		return e.host
	case host != "":
		return host
	case os.Getuid() == 0:
		return "unix://" + systemSocket
	}
	return "unix://" + container.FirstListening(container.UserSocket("podman/podman.sock"), systemSocket)
}

// connect connects at the first use; a service that answered is kept. Calls that
// come while the first is still at it wait for the same attempt, none beyond
// its ctx.
func (e *engine) connect(ctx context.Context) (*bindings.Connection, error) {
	e.mu.Lock()
	if e.conn != nil {
		defer e.mu.Unlock()
		return e.conn, nil
	}
	try := e.trying
	if try == nil {
		try = &attempt{done: make(chan struct{})}
		e.trying = try
		go e.attempt(try)
	}
	e.mu.Unlock()
	select {
	case <-try.done:
		return try.conn, try.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (e *engine) attempt(try *attempt) {
	at := e.find()
	e.mu.Lock()
	e.at = at
	e.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), connectDeadline)
	defer cancel()
	try.conn, try.err = dial(ctx, at)
	e.mu.Lock()
	e.conn, e.trying = try.conn, nil
	e.mu.Unlock()
	close(try.done)
}

func dial(ctx context.Context, at string) (*bindings.Connection, error) {
	if strings.HasPrefix(at, "ssh://") {
		return nil, &drivers.Error{Op: "connect to podman",
			Err:  fmt.Errorf("%s is another machine, which does not see this one's directories", at),
			Hint: "take the Podman of this machine: unset CONTAINER_HOST"}
	}
	if socket := socketOf(at); socket != "" {
		// The bindings would try three times, and not say why.
		if err := container.Dial("connect to podman", socket, hints()); err != nil {
			return nil, err
		}
	}
	with, err := bindings.NewConnection(ctx, at)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, &drivers.Error{Op: "connect to podman", Err: fmt.Errorf("the service at %s does not answer", at), Hint: hints().Dead}
	} else if err != nil {
		return nil, err
	}
	return bindings.GetClient(with)
}

// place is where the service was found, or looked for last.
func (e *engine) place() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.at
}

// socketOf is the unix socket of an address; "" if it is none.
func socketOf(at string) string {
	path, ok := strings.CutPrefix(at, "unix://")
	if !ok {
		return ""
	}
	return "/" + strings.TrimPrefix(path, "/")
}

// hints name the command that starts the service this user would take.
func hints() container.Hints {
	start := "systemctl --user start podman.socket"
	if os.Getuid() == 0 {
		start = "systemctl start podman.socket"
	}
	return container.Hints{
		Missing: "install Podman and start its service (" + start + "), or take another --driver",
		Denied:  "start a service of your own: " + start,
		Dead:    "start Podman's service: " + start,
	}
}

// Explain is container.Engine's.
func (e *engine) Explain(op string, err error) error {
	var known *drivers.Error
	if errors.As(err, &known) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if at := e.place(); container.IsBroken(err) {
		if socket := socketOf(at); socket != "" {
			return container.Unreachable(op, socket, err, hints())
		}
		return &drivers.Error{Op: op, Err: err, Hint: "check that the service at " + at + " runs"}
	}
	return container.Plain(op, err)
}

// Probe is container.Engine's.
func (e *engine) Probe(ctx context.Context) drivers.Info {
	info, err := e.ask(ctx, true)
	if err != nil {
		err = e.Explain("connect to podman", err)
		return drivers.Info{Problem: err.Error(), Hint: drivers.HintOf(err)}
	}
	security := info.Host.Security
	found := drivers.Info{
		Usable:  true,
		Version: "Podman " + info.Version.Version,
		Details: []drivers.Fact{
			{Name: "engine", Value: e.place()},
			{Name: "rootless", Value: strconv.FormatBool(security.Rootless)},
			{Name: "runtime", Value: runtimeOf(info)},
			{Name: "submounts", Value: "not shown"},
		},
	}
	if major, _, _ := strings.Cut(info.Version.Version, "."); len(major) == 1 && major < "4" {
		found.Usable = false
		found.Problem = fmt.Sprintf("connect to podman: its version is %s, 4 is needed", info.Version.Version)
		found.Hint = "upgrade Podman"
	}
	return found
}

func runtimeOf(info *define.Info) string {
	if info.Host.OCIRuntime == nil {
		return "unknown"
	}
	return info.Host.OCIRuntime.Name
}

// ask gives what the service says of itself, which is kept until a Probe.
func (e *engine) ask(ctx context.Context, fresh bool) (*define.Info, error) {
	e.mu.Lock()
	known := e.info
	e.mu.Unlock()
	if known != nil && !fresh {
		return known, nil
	}
	info := new(define.Info)
	if err := e.call(ctx, http.MethodGet, "/info", nil, nil, info); err != nil {
		return nil, err
	}
	if info.Host == nil {
		return nil, errors.New("the service does not describe its host")
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.info = info
	return info, nil
}

// Host is container.Engine's. No Podman makes mounts recursively read-only.
func (e *engine) Host(ctx context.Context) (container.Host, error) {
	info, err := e.ask(ctx, false)
	if err != nil {
		return container.Host{}, err
	}
	return container.Host{CPUs: info.Host.CPUs, Memory: info.Host.MemTotal, Socket: socketOf(e.place())}, nil
}

// values makes a query of pairs.
func values(pairs ...string) url.Values {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Add(pairs[i], pairs[i+1])
	}
	return v
}
