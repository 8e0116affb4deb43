package docker

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/docker/docker/api/types/system"
	"github.com/docker/docker/api/types/versions"
	"github.com/docker/docker/client"

	"openshell-vm/drivers"
	"openshell-vm/drivers/container"
	"openshell-vm/drivers/container/place"
	"openshell-vm/drivers/container/said"
)

const (
	minAPI       = "1.40" // non-recursive bind mounts
	recursiveAPI = "1.44" // recursively read-only ones
)

// engine is a container.Engine, Movable and Blind. Its exported methods are documented
// there.
type engine struct {
	host   string
	shares string

	mu   sync.Mutex
	stay string // see Stay
	at   endpoint
	cli  *client.Client
	info *system.Info // of the last Probe, or of the first need
}

func (e *engine) Name() string { return "docker" }

// client finds the engine at the first use. Until one listens it is looked for each
// time. Then it is kept: another one would not have its sandboxes.
func (e *engine) client() (*client.Client, error) {
	e.mu.Lock()
	known, stay := e.cli, e.stay
	e.mu.Unlock()
	if known != nil {
		return known, nil
	}
	at, err := find(e.host, stay)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	if e.cli == nil {
		e.at = at
	}
	e.mu.Unlock()
	if err := at.Dial(""); err != nil {
		return nil, err
	}
	opts := append([]client.Opt{client.WithHost(at.Host), client.WithAPIVersionNegotiation()}, at.opts...)
	cli, err := client.NewClientWithOpts(opts...)
	if err != nil {
		return nil, at.Refuse(err, "check its address and certificates: docker context ls")
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.cli == nil { // else another call was faster
		e.at, e.cli = at, cli
	}
	return e.cli, nil
}

// endpoint is where the engine was found, or looked for last.
func (e *engine) endpoint() endpoint {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.at
}

func (e *engine) Place() place.Place { return e.endpoint().Place }

func (e *engine) Stay(host string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stay = host
}

var hints = place.Hints{
	Missing: "install and start Docker (systemctl start docker), or take another --driver",
	Denied: "add yourself to the group docker and log in again (sudo usermod -aG docker $USER), " +
		"then openshell-vm gateway restart; or take another --driver",
	Dead: "start Docker: systemctl start docker",
}

func (e *engine) Explain(op string, err error) error {
	return e.endpoint().Explain(op, err, isConnection(err))
}

// isConnection says whether err is about reaching the engine. The client has a type for
// some such errors, and only words for others.
func isConnection(err error) bool {
	return client.IsErrConnectionFailed(err) ||
		strings.Contains(err.Error(), "trying to connect to the Docker daemon") || said.IsBroken(err)
}

func (e *engine) Probe(ctx context.Context) drivers.Info {
	info, err := e.ask(ctx, true)
	if err != nil {
		err = e.Explain("", err)
		return drivers.Info{Problem: err.Error(), Hint: drivers.HintOf(err)}
	}
	at := e.endpoint()
	found := drivers.Info{
		Usable:  true,
		Version: "Docker " + info.ServerVersion, DataRoot: info.DockerRootDir,
		Details: []drivers.Fact{
			{Name: "engine", Value: at.Where()},
			{Name: "api", Value: e.cli.ClientVersion()},
			{Name: "rootless", Value: strconv.FormatBool(secured(info, "rootless"))},
			{Name: "user namespace", Value: strconv.FormatBool(secured(info, "userns"))},
			{Name: "submounts", Value: map[bool]string{true: "read-only", false: "not shown"}[e.recursive(info)]},
		},
	}
	if hint := e.BlindTo(e.shares); e.shares != "" && hint != "" {
		found.Hint = hint
		found.Details = append(found.Details, drivers.Fact{Name: "snap", Value: "does not see " + e.shares})
	}
	switch {
	case versions.LessThan(e.cli.ClientVersion(), minAPI):
		found.Usable = false
		found.Problem = fmt.Sprintf("connect to docker: its API is %s, %s is needed", e.cli.ClientVersion(), minAPI)
		found.Hint = "upgrade Docker to 19.03 or later"
	case info.OSType != "" && info.OSType != "linux":
		found.Usable = false
		found.Problem = fmt.Sprintf("connect to docker: it runs %s containers", info.OSType)
		found.Hint = "switch Docker to Linux containers"
	}
	return found
}

func (e *engine) BlindTo(path string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	home, err := os.UserHomeDir()
	if e.info == nil || err != nil {
		return ""
	}
	return snapHint(e.info.DockerRootDir, home, path)
}

// ask gives what the engine says of itself. It is kept until the next Probe.
func (e *engine) ask(ctx context.Context, fresh bool) (*system.Info, error) {
	cli, err := e.client()
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	known := e.info
	e.mu.Unlock()
	if known != nil && !fresh {
		return known, nil
	}
	info, err := cli.Info(ctx)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.info = &info
	return &info, nil
}

func (e *engine) Host(ctx context.Context) (container.Host, error) {
	info, err := e.ask(ctx, false)
	if err != nil {
		return container.Host{}, err
	}
	return container.Host{CPUs: info.NCPU, Memory: info.MemTotal, RecursiveReadOnly: e.recursive(info), Socket: e.endpoint().Socket()}, nil
}

// recursive says whether mounts can be read-only with all submounts.
func (e *engine) recursive(info *system.Info) bool {
	var major, minor int
	if n, _ := fmt.Sscanf(info.KernelVersion, "%d.%d", &major, &minor); n != 2 {
		return false
	}
	return versions.GreaterThanOrEqualTo(e.cli.ClientVersion(), recursiveAPI) && (major > 5 || major == 5 && minor >= 12)
}

// secured says whether the engine reports a security option.
func secured(info *system.Info, name string) bool {
	return slices.ContainsFunc(info.SecurityOptions, func(o string) bool {
		return o == "name="+name || strings.HasPrefix(o, "name="+name+",")
	})
}
