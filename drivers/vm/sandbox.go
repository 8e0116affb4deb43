package vm

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/monitor"
	"openshell-vm/drivers/vm/monitor/api"
	"openshell-vm/drivers/vm/monitor/logs"
	"openshell-vm/internal/plainfile"
)

// sandbox is one sandbox: its files, and its monitor while it has one. It keeps nothing
// open.
type sandbox struct {
	id     string
	dir    string // its state directory
	runDir string // the directory of its socket, while it runs
	log    *slog.Logger
}

// sandbox returns the sandbox of that id, which need not exist.
func (d *Driver) sandbox(id string) sandbox {
	return sandbox{id, d.dir(id), filepath.Join(d.cfg.RuntimeDir, runtimeVMs, id), d.cfg.Log}
}

// find returns the sandbox of that id; ErrNotFound if Create has not made it.
func (d *Driver) find(id string) (sandbox, error) {
	b := d.sandbox(id)
	_, err := b.spec()
	return b, err
}

// maxSpec bounds the file, in bytes.
const maxSpec = 64 << 20

// spec reads the Spec that Create was given.
func (b sandbox) spec() (drivers.Spec, error) {
	var spec drivers.Spec
	if b.id == "" || b.id != filepath.Base(b.id) {
		return spec, drivers.ErrNotFound
	}
	data, err := plainfile.Read(filepath.Join(b.dir, specFile), maxSpec)
	if errors.Is(err, fs.ErrNotExist) {
		return spec, drivers.ErrNotFound
	} else if err != nil {
		return spec, err
	}
	return spec, json.Unmarshal(data, &spec)
}

// ask sends the monitor one request.
func (b sandbox) ask(ctx context.Context, r api.Request) (api.Report, error) {
	c, err := api.Dial(b.runDir)
	if err != nil {
		return api.Report{}, err
	}
	defer c.Close()
	return c.Do(ctx, r)
}

// stream asks the monitor for a session, and returns its exit code.
func (b sandbox) stream(ctx context.Context, r api.StreamRequest, s drivers.Streams) (int, error) {
	c, err := api.Dial(b.runDir)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	return c.Stream(ctx, r, s)
}

// stored gives the output and the end of a sandbox that has ended, as an attached client
// would have seen them.
func (b sandbox) stored(s drivers.Streams) (int, error) {
	if err := logs.Read(b.dir, s.Stdout, s.Stderr); err != nil {
		return 0, err
	}
	exit, err := monitor.ReadExit(b.dir)
	switch {
	case err != nil:
	case exit.State == drivers.Dead:
		err = errors.New(exit.Reason)
	case exit.Reason != "" && s.Stderr != nil:
		_, err = io.WriteString(s.Stderr, api.Note(exit.Reason))
	}
	return exit.ExitCode, err
}

// takeLock takes the lock for a new monitor. If the sandbox runs already, it returns neither
// a lock nor an error. If a sandbox is about to start or to end, it waits.
func (b sandbox) takeLock(ctx context.Context) (*os.File, error) {
	for {
		lock, err := monitor.Lock(b.dir)
		if !errors.Is(err, monitor.ErrAlive) {
			return lock, err
		}
		if r, err := b.ask(ctx, api.Request{Status: &struct{}{}}); err == nil && r.State == drivers.Running {
			return nil, nil
		}
		wait, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		err = waitGone(wait, b.dir)
		cancel()
		if ctx.Err() != nil || err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return nil, errors.Join(ctx.Err(), err)
		}
	}
}

// removeCgroups removes the cgroups of a VM whose monitor was killed.
func (b sandbox) removeCgroups() {
	cfg, err := monitor.ReadConfig(b.dir)
	if err == nil {
		err = cfg.RemoveCgroups()
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		b.log.Info("cgroups of a VM are left", "sandbox", b.id, "error", err)
	}
}
