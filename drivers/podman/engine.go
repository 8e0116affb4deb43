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
	"openshell-vm/drivers/container/place"
	"openshell-vm/drivers/container/said"
)

// hostVariable names another service to podman --remote.
const hostVariable = "CONTAINER_HOST"

// systemSocket is where root's Podman service listens.
const systemSocket = "/run/podman/podman.sock"

// engine is a container.Engine and Movable. Its exported methods are documented there.
type engine struct {
	host string

	mu     sync.Mutex  // never held while the service is asked
	stay   string      // see Stay
	at     place.Place // where it was found or looked for last
	conn   *bindings.Connection
	trying *attempt     // the one under way; nil if there is none
	info   *define.Info // of the last Probe, or of the first need

	stuck stuck
}

// attempt is one try to connect, for all calls that wait for it.
type attempt struct {
	done chan struct{} // closed at its end; conn and err are set then
	conn *bindings.Connection
	err  error
}

// connectDeadline bounds one attempt. Each call has its own deadline beside it.
const connectDeadline = 10 * time.Second

func (e *engine) Name() string { return "podman" }

// find finds the service as podman --remote does.
func (e *engine) find() place.Place {
	e.mu.Lock()
	stay := e.stay
	e.mu.Unlock()
	p := place.Place{Engine: "Podman", From: place.FromDefault, Hints: hints()}
	switch host := os.Getenv(hostVariable); {
	case e.host != "":
		p.Host, p.From = e.host, "from the configuration"
	case host != "":
		p.Host, p.From = host, place.FromVariable(hostVariable)
	case os.Getuid() == 0:
		p.Host = "unix://" + systemSocket
	default:
		return p.Default(stay, place.UserSocket("podman/podman.sock"), systemSocket)
	}
	return p
}

// connect connects at the first use. A service that answered is kept. Calls that come
// during an attempt wait for it, each no longer than its own ctx.
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

func dial(ctx context.Context, at place.Place) (*bindings.Connection, error) {
	if strings.HasPrefix(at.Host, "ssh://") {
		return nil, at.Refuse(errors.New("it is another machine, which does not see this one's directories"),
			"take the Podman of this machine")
	}
	// The bindings would try three times, and not say what was wrong.
	if err := at.Dial(""); err != nil {
		return nil, err
	}
	with, err := bindings.NewConnection(ctx, at.Host)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, at.Refuse(errors.New("the service does not answer"), hints().Dead)
	} else if err != nil {
		return nil, at.Unreachable("", err)
	}
	return bindings.GetClient(with)
}

// place is where the service was found, or looked for last.
func (e *engine) place() place.Place {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.at
}

func (e *engine) Place() place.Place { return e.place() }

func (e *engine) Stay(host string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stay = host
}

// hints name the command that starts this user's service.
func hints() place.Hints {
	start := "systemctl --user start podman.socket"
	if os.Getuid() == 0 {
		start = "systemctl start podman.socket"
	}
	return place.Hints{
		Missing: "install Podman and start its service (" + start + "), or take another --driver",
		Denied:  "start a service of your own: " + start,
		Dead:    "start Podman's service: " + start,
	}
}

func (e *engine) Explain(op string, err error) error {
	return e.place().Explain(op, err, said.IsBroken(err))
}

func (e *engine) Probe(ctx context.Context) drivers.Info {
	info, err := e.describe(ctx, true)
	if err != nil {
		err = e.Explain("", err)
		return drivers.Info{Problem: err.Error(), Hint: drivers.HintOf(err)}
	}
	security := info.Host.Security
	found := drivers.Info{
		Usable:  true,
		Version: "Podman " + info.Version.Version, DataRoot: graphRoot(info),
		Details: []drivers.Fact{
			{Name: "engine", Value: e.place().Where()},
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

func graphRoot(info *define.Info) string {
	if info.Store == nil {
		return ""
	}
	return info.Store.GraphRoot
}

func runtimeOf(info *define.Info) string {
	if info.Host.OCIRuntime == nil {
		return "unknown"
	}
	return info.Host.OCIRuntime.Name
}

// describe gives what the service says of itself. It is kept until the next Probe.
func (e *engine) describe(ctx context.Context, fresh bool) (*define.Info, error) {
	e.mu.Lock()
	known := e.info
	e.mu.Unlock()
	if known != nil && !fresh {
		return known, nil
	}
	info := new(define.Info)
	if err := e.ask(ctx, http.MethodGet, "/info", nil, info); err != nil {
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

// Host says that there are no recursively read-only mounts: Podman makes none.
func (e *engine) Host(ctx context.Context) (container.Host, error) {
	info, err := e.describe(ctx, false)
	if err != nil {
		return container.Host{}, err
	}
	return container.Host{CPUs: info.Host.CPUs, Memory: info.Host.MemTotal, Socket: e.place().Socket()}, nil
}

// values makes a query of pairs.
func values(pairs ...string) url.Values {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Add(pairs[i], pairs[i+1])
	}
	return v
}
