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

	mu   sync.Mutex
	at   string // unix:///…, tcp://…
	conn *bindings.Connection
	info *define.Info // of the last Probe, or of the first need
}

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

// connect connects at the first use. What was found then is kept.
func (e *engine) connect(ctx context.Context) (*bindings.Connection, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.conn != nil {
		return e.conn, nil
	}
	e.at = e.find()
	if strings.HasPrefix(e.at, "ssh://") {
		return nil, &drivers.Error{Op: "connect to podman",
			Err:  fmt.Errorf("%s is another machine, which does not see this one's directories", e.at),
			Hint: "take the Podman of this machine: unset CONTAINER_HOST"}
	}
	if socket := socketOf(e.at); socket != "" {
		// The bindings would try three times, and not say why.
		if err := container.Dial("connect to podman", socket, hints()); err != nil {
			return nil, err
		}
	}
	with, err := bindings.NewConnection(ctx, e.at)
	if err != nil {
		return nil, err
	}
	e.conn, err = bindings.GetClient(with)
	return e.conn, err
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
	e.mu.Lock()
	at := e.at
	e.mu.Unlock()
	if container.IsBroken(err) {
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
			{Name: "engine", Value: e.at},
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
	return container.Host{CPUs: info.Host.CPUs, Memory: info.Host.MemTotal, Socket: socketOf(e.at)}, nil
}

// values makes a query of pairs.
func values(pairs ...string) url.Values {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Add(pairs[i], pairs[i+1])
	}
	return v
}
