package vm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/guest"
	"openshell-vm/drivers/vm/monitor/api"
	"openshell-vm/internal/stream"
	"openshell-vm/internal/vocab"
)

// StatPath asks the guest init: paths are resolved in the guest.
func (d *Driver) StatPath(ctx context.Context, id, path string) (stat drivers.PathStat, err error) {
	var out bytes.Buffer
	task := vocab.CopyTask{Do: vocab.CopyStat, Path: path}
	if err := d.copy(ctx, id, task, drivers.Streams{Stdout: &bounded{w: &out, left: maxStat}}); err != nil {
		return stat, err
	}
	if err := json.Unmarshal(out.Bytes(), &stat); err != nil {
		return stat, errors.New("the guest does not describe the file")
	}
	return stat, nil
}

// maxStat bounds a description of a file, in bytes. A link's target has up to 4 KiB.
const maxStat = 64 << 10

// CopyOut lets the guest init pack. No byte of the archive can be trusted.
func (d *Driver) CopyOut(ctx context.Context, id, path string, w io.Writer) error {
	return d.copy(ctx, id, vocab.CopyTask{Do: vocab.CopyOut, Path: path}, drivers.Streams{Stdout: w})
}

// CopyIn lets the guest init unpack.
func (d *Driver) CopyIn(ctx context.Context, id, dir string, r io.Reader) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err := d.copy(ctx, id, vocab.CopyTask{Do: vocab.CopyIn, Path: dir}, drivers.Streams{Stdin: stream.FailingReader(r, cancel)})
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// copy has the guest init do one task.
func (d *Driver) copy(ctx context.Context, id string, task vocab.CopyTask, s drivers.Streams) error {
	b, err := d.find(id)
	if err != nil {
		return err
	}
	var said bytes.Buffer
	s.Stderr = &bounded{w: &said, left: maxSaid}
	code, err := b.stream(ctx, api.StreamRequest{Exec: &api.ExecRequest{Copy: &task, Stdin: s.Stdin != nil}}, s)
	why := strings.TrimSpace(said.String())
	switch {
	case err != nil:
		return tooOld(err, "copy files")
	case code == vocab.CopyNoPath:
		return fmt.Errorf("%w: %s", drivers.ErrNoPath, task.Path)
	case code == 128+9 && why == "":
		return errors.New("the guest killed what copies; it may be out of memory")
	case code != 0:
		return &drivers.Error{Op: taskOp[task.Do] + task.Path, Err: errors.New(why), Hint: hintFor(why)}
	}
	return nil
}

var taskOp = map[string]string{vocab.CopyStat: "look at ", vocab.CopyOut: "copy from ", vocab.CopyIn: "copy into "}

func hintFor(why string) string {
	switch {
	case strings.Contains(why, "read-only file system"):
		return "what is mounted there is changed on the host only"
	case strings.Contains(why, "no space left"):
		return "make room in the sandbox, or run another one with a larger --disk"
	}
	return "openshell-vm exec shows what is in the sandbox"
}

// maxSaid bounds what the guest's part says of a failure, in bytes.
const maxSaid = 4 << 10

// bounded drops what is too much.
type bounded struct {
	w    io.Writer
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	n, err := b.w.Write(p[:min(len(p), b.left)])
	if b.left -= n; err != nil {
		return n, err
	}
	return len(p), nil
}

// Launch has the guest init start a command that nobody is connected to.
func (d *Driver) Launch(ctx context.Context, id string, p drivers.Process) (int, error) {
	b, err := d.find(id)
	if err != nil {
		return 0, err
	}
	p.Env = drivers.WithDefaults(p.Env, guestDefaults...)
	var said bytes.Buffer
	code, err := b.stream(ctx, api.StreamRequest{Exec: &api.ExecRequest{Launch: &p}},
		drivers.Streams{Stderr: &bounded{w: &said, left: maxSaid}})
	if err != nil {
		return 0, tooOld(err, "run a command that goes on by itself")
	}
	if code != 0 {
		return code, errors.New(strings.TrimPrefix(strings.TrimSpace(said.String()), "openshell-vm: "))
	}
	return 0, nil
}

// tooOld explains a VM that an older version started, and that can't do something.
func tooOld(err error, what string) error {
	var ended *api.EndedError
	if !errors.As(err, &ended) || ended.Reason != guest.NoCommand {
		return err
	}
	return &drivers.Error{Op: what, Err: errors.New("an older version started this sandbox, and its guest can't do that"),
		Hint: "stop and start the sandbox: it then runs what is installed now"}
}
