package podman

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/containers/podman/v5/libpod/define"

	"openshell-vm/drivers"
	"openshell-vm/drivers/container"
	"openshell-vm/drivers/container/said"
	"openshell-vm/internal/vocab"
)

// createRequest is what a sandbox needs of Podman's SpecGenerator.
type createRequest struct {
	Name          string            `json:"name"`
	Image         string            `json:"image"`
	Command       []string          `json:"command,omitempty"`
	Entrypoint    []string          `json:"entrypoint,omitempty"`
	Env           map[string]string `json:"env,omitempty"`
	EnvHost       bool              `json:"env_host"`
	HTTPProxy     bool              `json:"httpproxy"` // the host's proxy settings: no
	WorkDir       string            `json:"work_dir,omitempty"`
	User          string            `json:"user,omitempty"`
	Terminal      bool              `json:"terminal"`
	Stdin         bool              `json:"stdin"`
	Privileged    bool              `json:"privileged"`
	Labels        map[string]string `json:"labels"`
	Mounts        []mount           `json:"mounts"`
	RestartPolicy string            `json:"restart_policy"`
	Log           logConfig         `json:"log_configuration"`
	Limits        limits            `json:"resource_limits,omitzero"`
	Network       namespace         `json:"netns,omitzero"` // the zero one is the engine's default
	Ports         []portMapping     `json:"portmappings,omitempty"`
}

type portMapping struct {
	HostIP    string `json:"host_ip"`
	Container uint16 `json:"container_port"`
	Host      uint16 `json:"host_port"`
	Protocol  string `json:"protocol"`
}

// mount is an OCI mount with Podman's further options.
type mount struct {
	Type        string   `json:"type"`
	Source      string   `json:"source"`
	Destination string   `json:"destination"`
	Options     []string `json:"options"`
}

type namespace struct {
	Mode string `json:"nsmode"`
}

type logConfig struct {
	Driver string `json:"driver"`
	Size   int64  `json:"size"`
}

type limits struct {
	CPU    *cpuLimit    `json:"cpu,omitempty"`
	Memory *memoryLimit `json:"memory,omitempty"`
}

type cpuLimit struct {
	Quota  int64 `json:"quota"`  // µs in each period
	Period int64 `json:"period"` // µs
}

type memoryLimit struct {
	Limit int64 `json:"limit"`
	Swap  int64 `json:"swap"` // with the memory: none beyond it
}

// cpuPeriod is the kernel's default, in µs.
const cpuPeriod = 100_000

func requestOf(o container.Object) createRequest {
	p := o.Process
	r := createRequest{
		Name: o.Name, Image: o.Image, Command: p.Args, Entrypoint: o.Program(), Env: map[string]string{},
		WorkDir: p.Dir, User: p.User, Terminal: p.Terminal, Stdin: o.Stdin, Labels: o.Labels,
		RestartPolicy: "no",
		Log:           logConfig{Driver: "k8s-file", Size: container.LogSize},
	}
	for _, pair := range p.Env {
		name, value, _ := strings.Cut(pair, "=")
		r.Env[name] = value
	}
	// z labels a share for all containers; the user's directories keep theirs.
	for _, b := range o.Shares {
		r.Mounts = append(r.Mounts, bind(b, "z"))
	}
	for _, b := range o.Binds {
		r.Mounts = append(r.Mounts, bind(b))
	}
	for _, target := range o.Masks {
		// Without notmpcopyup it would begin with a copy of what it hides.
		r.Mounts = append(r.Mounts, mount{"tmpfs", "tmpfs", target, []string{"ro", "notmpcopyup", "size=4096", "mode=0555"}})
	}
	for _, p := range o.Ports {
		r.Ports = append(r.Ports, portMapping{p.IP().String(), p.Guest, p.Host, cmp.Or(p.Protocol, "tcp")})
	}
	if o.NoNetwork {
		r.Network.Mode = "none"
	}
	if o.CPUs > 0 {
		r.Limits.CPU = &cpuLimit{int64(math.Round(o.CPUs * cpuPeriod)), cpuPeriod}
	}
	if o.Memory > 0 {
		r.Limits.Memory = &memoryLimit{o.Memory, o.Memory}
	}
	return r
}

// bind makes a mount without submounts ("bind", not "rbind"), unless it is writable. Podman
// has none that is read-only with all submounts.
func bind(b container.Bind, more ...string) mount {
	if b.Writable {
		return mount{"bind", b.Source, b.Target, append([]string{"rbind", "rw", "rprivate"}, more...)}
	}
	if b.Programs && os.Geteuid() == 0 { // Podman takes noexec over from /run; an ordinary user may not drop it
		more = append(more, "exec")
	}
	return mount{"bind", b.Source, b.Target, append([]string{"bind", "ro", "rprivate"}, more...)}
}

func (e *engine) Create(ctx context.Context, o container.Object) (string, error) {
	var made struct{ ID string }
	err := e.call(ctx, http.MethodPost, "/containers/create", nil, requestOf(o), &made)
	return made.ID, err
}

func (e *engine) Start(ctx context.Context, name string) error {
	if err := e.settle(ctx, name); err != nil {
		return err
	}
	return e.call(ctx, http.MethodPost, "/containers/%s/start", nil, nil, nil, name)
}

// settle waits until Podman has tidied up after a container's last run. A process of
// Podman's does that some time after the end. It would take down what was made ready for
// the next run. The wait is bounded, for that process may never come.
func (e *engine) settle(ctx context.Context, name string) error {
	for range 150 {
		var c description
		if err := e.ask(ctx, http.MethodGet, "/containers/%s/json", nil, &c, name); err != nil {
			return err
		}
		if c.State.Status != "stopped" {
			return nil
		}
		if err := container.Pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

func (e *engine) Kill(ctx context.Context, name string, sig int) error {
	return e.call(ctx, http.MethodPost, "/containers/%s/kill", values("signal", strconv.Itoa(sig)), nil, nil, name)
}

// Remove tries again for a while: Podman does not remove a container that is about to
// end.
func (e *engine) Remove(ctx context.Context, name string) error {
	return whileImproper(ctx, removePatience, func() error {
		return e.call(ctx, http.MethodDelete, "/containers/%s", values("force", "true", "v", "true", "timeout", "0"), nil, nil, name)
	})
}

// How long a container that ends may take until it can be removed or attached to.
const (
	removePatience = 10 * time.Second
	attachPatience = time.Second
	improperPause  = 100 * time.Millisecond
)

// whileImproper makes a request again as long as Podman refuses it for the container's
// state, until the time is up.
func whileImproper(ctx context.Context, patience time.Duration, do func() error) error {
	for begin := time.Now(); ; {
		err := do()
		if err == nil || errors.Is(err, drivers.ErrNotFound) || !strings.Contains(err.Error(), "state improper") ||
			time.Since(begin) >= patience || container.Pause(ctx, improperPause) != nil {
			return err
		}
	}
}

// Wait lets the service poll. For a container that has ended it returns at once.
func (e *engine) Wait(ctx context.Context, name string, _ bool) (int, error) {
	code := 0
	err := e.ask(ctx, http.MethodPost, "/containers/%s/wait",
		values("condition", "exited", "condition", "stopped", "interval", "50ms"), &code, name)
	return code, err
}

func (e *engine) Stat(ctx context.Context, name, path string) (container.Stat, error) {
	response, err := e.send(ctx, http.MethodHead, "/containers/%s/archive", values("path", path), nil, name)
	if err != nil {
		return container.Stat{}, err
	}
	defer response.Body.Close()
	data, err := base64.URLEncoding.DecodeString(response.Header.Get("X-Docker-Container-Path-Stat"))
	if err != nil {
		return container.Stat{}, err
	}
	var info define.FileInfo
	if err := json.Unmarshal(data, &info); err != nil {
		return container.Stat{}, err
	}
	return container.Stat{IsDir: info.Mode.IsDir(), Modified: info.ModTime}, nil
}

func (e *engine) List(ctx context.Context, label, value string) ([]string, error) {
	filter, err := json.Marshal(map[string][]string{"label": {label + "=" + value}})
	if err != nil {
		return nil, err
	}
	var all []struct{ ID string }
	if err := e.ask(ctx, http.MethodGet, "/containers/json", values("all", "true", "filters", string(filter)), &all); err != nil {
		return nil, err
	}
	var ids []string
	for _, c := range all {
		ids = append(ids, c.ID)
	}
	return ids, nil
}

// Mounts looks at each container that has mounts, since Podman's list tells no sources.
// A container that can't be described is left out.
func (e *engine) Mounts(ctx context.Context) ([]drivers.Mounting, error) {
	var all []struct {
		ID     string
		Mounts []string
	}
	if err := e.ask(ctx, http.MethodGet, "/containers/json", values("all", "true"), &all); err != nil {
		return nil, err
	}
	var found []drivers.Mounting
	for _, c := range all {
		if len(c.Mounts) == 0 {
			continue
		}
		f, err := e.Inspect(ctx, c.ID)
		var broken *refusal
		if errors.Is(err, drivers.ErrNotFound) || errors.As(err, &broken) {
			continue // gone since, or nobody can tell
		} else if err != nil {
			return nil, err
		}
		for target, source := range f.Sources {
			found = append(found, drivers.Mounting{Object: f.Name, Source: source, Target: target, Running: f.State == drivers.Running})
		}
	}
	return found, nil
}

// description is the part of Podman's answer to inspect that matters here.
type description struct {
	ID        string
	Name      string
	ImageName string
	Config    struct {
		Labels map[string]string
		Env    []string
		// StopSignal is a number, and since Podman 5 a name.
		StopSignal json.RawMessage
	}
	State  define.InspectContainerState
	Mounts []struct {
		Type        string
		Source      string
		Destination string
		RW          bool
	}
	HostConfig struct{ Tmpfs map[string]string }
}

func (e *engine) Inspect(ctx context.Context, name string) (container.Found, error) {
	var c description
	if err := e.ask(ctx, http.MethodGet, "/containers/%s/json", nil, &c, name); err != nil {
		return container.Found{}, err
	}
	f := container.Found{ID: c.ID, Name: c.Name, Image: c.ImageName, Labels: c.Config.Labels, Env: c.Config.Env,
		Writable: map[string]bool{}, Sources: map[string]string{}}
	for _, m := range c.Mounts {
		f.Writable[m.Destination] = m.RW
		if m.Type == "bind" {
			f.Sources[m.Destination] = m.Source
		}
	}
	for target, options := range c.HostConfig.Tmpfs {
		f.Writable[target] = !strings.HasPrefix(options, "ro,") && !strings.Contains(options, ",ro,")
	}
	if n, ok := vocab.Signal(strings.Trim(string(c.Config.StopSignal), `"`)); ok {
		f.StopSignal = n
	}
	f.State, f.ExitCode, f.Reason = stateOf(c.State)
	f.StartedAt, f.ExitedAt = timeOf(c.State.StartedAt), timeOf(c.State.FinishedAt)
	if f.State == drivers.Running {
		f.PID = c.State.Pid
	}
	return f, nil
}

// stateOf translates a state.
func stateOf(s define.InspectContainerState) (state drivers.State, exitCode int, reason string) {
	switch s.Status {
	case "created", "configured", "initialized":
		return drivers.Created, 0, said.Line(s.Error)
	case "paused":
		return drivers.Running, 0, container.Paused
	case "running", "stopping":
		return drivers.Running, 0, ""
	case "exited", "stopped":
		if s.OOMKilled {
			return drivers.Exited, int(s.ExitCode), "it ran out of memory"
		}
		return drivers.Exited, int(s.ExitCode), said.Line(s.Error)
	}
	return drivers.Dead, 0, "podman says " + s.Status
}

// timeOf reads a time. Podman's zero time is not always Go's.
func timeOf(t time.Time) time.Time {
	if t.Year() < 1971 {
		return time.Time{}
	}
	return t
}
