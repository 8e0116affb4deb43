package container

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/container/said"
)

// fake is an engine with one container, for what a real one can't be made to
// do on demand. The conformance suite runs on the real ones.
type fake struct {
	mu      sync.Mutex
	made    *Object
	id      string // of what was made; "" for one that goes by the name's
	state   drivers.State
	code    int
	signals []int
	output  net.Conn // the engine's end of an attached connection

	startErr  error
	stat      Stat
	statErr   []error // one per call
	writable  bool
	immortal  bool // survives SIGKILL
	attachErr error
	listErr   error
	lookErr   error // of Inspect
	killErr   error // once it has ended
}

func (f *fake) Name() string                       { return "fake" }
func (f *fake) Probe(context.Context) drivers.Info { return drivers.Info{Usable: true} }
func (f *fake) Host(context.Context) (Host, error) { return Host{CPUs: 2, Memory: 1 << 30}, nil }
func (f *fake) Explain(op string, err error) error { return said.Plain(op, err) }

func (f *fake) Create(_ context.Context, o Object) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.made != nil {
		return "", drivers.ErrExists
	}
	f.made, f.state = &o, drivers.Created
	return f.ref(), nil
}

func (f *fake) ref() string {
	if f.id != "" {
		return f.id
	}
	return "id of " + f.made.Name
}

func (f *fake) Start(context.Context, string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.startErr == nil {
		f.state = drivers.Running
	}
	return f.startErr
}

func (f *fake) Kill(_ context.Context, _ string, sig int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state != drivers.Running && f.killErr != nil {
		return f.killErr
	}
	if f.state != drivers.Running {
		return drivers.ErrNotRunning
	}
	f.signals = append(f.signals, sig)
	if sig == 9 && !f.immortal {
		f.state, f.code = drivers.Exited, 137
		if f.output != nil {
			f.output.Close()
		}
	}
	return nil
}

func (f *fake) Remove(context.Context, string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.made = nil
	return nil
}

func (f *fake) Inspect(_ context.Context, name string) (Found, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lookErr != nil {
		return Found{}, f.lookErr
	}
	if f.made == nil || f.made.Name != name && f.ref() != name {
		return Found{}, drivers.ErrNotFound
	}
	found := Found{ID: f.ref(), Name: f.made.Name, Labels: f.made.Labels, Env: f.made.Process.Env, State: f.state, ExitCode: f.code,
		Writable: map[string]bool{f.made.Shares[0].Target: f.writable}, Sources: map[string]string{f.made.Shares[0].Target: f.made.Shares[0].Source}}
	for _, m := range f.made.Masks {
		found.Writable[m] = false
	}
	return found, nil
}

func (f *fake) List(ctx context.Context, label, value string) ([]string, error) {
	if f.listErr != nil {
		return nil, f.listErr
	}
	if f.made.Labels[label] != value {
		return nil, nil
	}
	return []string{f.ref()}, nil
}

func (f *fake) Wait(ctx context.Context, name string, next bool) (int, error) {
	for {
		found, err := f.Inspect(ctx, name)
		if err != nil {
			return 0, err
		}
		if found.State == drivers.Exited || found.State == drivers.Created && !next {
			return found.ExitCode, nil
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}

func (f *fake) Stat(context.Context, string, string) (Stat, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.statErr) > 0 {
		err := f.statErr[0]
		f.statErr = f.statErr[1:]
		return Stat{}, err
	}
	if f.stat == (Stat{}) {
		info, err := os.Stat(f.made.Shares[0].Source)
		if err != nil {
			return Stat{}, err
		}
		return Stat{IsDir: true, Modified: info.ModTime()}, nil
	}
	return f.stat, nil
}

func (f *fake) Mounts(context.Context) ([]drivers.Mounting, error) {
	return []drivers.Mounting{{Object: "a", Source: f.made.Shares[0].Source, Target: "/whole"},
		{Object: "b", Source: f.made.Shares[0].Source + "/sandbox.jwt", Target: "/single"}}, nil
}

func (f *fake) HasImage(context.Context, string) (bool, error) { return true, nil }
func (f *fake) Pull(context.Context, string, func(drivers.PullProgress)) error {
	return errors.New("nothing to pull from")
}

func (f *fake) Logs(context.Context, string, bool, time.Time) (io.ReadCloser, error) {
	return nil, errors.New("no log")
}

func (f *fake) Attach(context.Context, string, bool, bool) (Conn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.attachErr != nil {
		return nil, f.attachErr
	}
	ours, theirs := net.Pipe()
	f.output = theirs
	return pipeConn{ours}, nil
}

func (f *fake) Resize(context.Context, string, drivers.Size) error { return nil }

func (f *fake) ExecCreate(context.Context, string, drivers.Process, bool) (string, error) {
	return "", errors.New("no exec")
}

func (f *fake) ExecAttach(context.Context, string, drivers.Process) (Conn, error) {
	return nil, errors.New("no exec")
}
func (f *fake) ExecDetached(context.Context, string) error           { return errors.New("no exec") }
func (f *fake) Usage(context.Context, string) (drivers.Usage, error) { return drivers.Usage{}, nil }
func (f *fake) StatPath(context.Context, string, string) (drivers.PathStat, error) {
	return drivers.PathStat{}, drivers.ErrNoPath
}
func (f *fake) GetArchive(context.Context, string, string) (io.ReadCloser, error) {
	return nil, drivers.ErrNoPath
}
func (f *fake) PutArchive(_ context.Context, _, _ string, r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}
func (f *fake) ExecResize(context.Context, string, drivers.Size) error { return nil }
func (f *fake) ExecInspect(context.Context, string) (ExecState, error) { return ExecState{}, nil }

type pipeConn struct{ net.Conn }

func (pipeConn) CloseWrite() error { return nil }
