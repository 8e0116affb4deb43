package daemon

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/internal/procfs"
)

const (
	// withdrawTime bounds how long a start waits for a supervisor that it ends.
	withdrawTime = 2 * time.Second
	// takenPatience is how long to wait for another gateway that is about to start or to end.
	takenPatience = time.Second
)

// startParent runs `openshell-gateway supervise` in a session of its own. Of our descriptors
// it inherits only a pipe, on which it reports why it ends.
func startParent(ctx context.Context, program string) error {
	for {
		p, err := runParent(program)
		if err != nil {
			return err
		}
		again, err := p.await(ctx)
		if err == nil && !again && !supervises(ctx, p.process.Pid) {
			p.withdraw()
		}
		if !again {
			return err
		}
	}
}

// parent is a supervisor that was started here.
type parent struct {
	process *os.Process
	ended   chan struct{} // closed at its end; then code and said are set
	code    int
	said    tail
}

func runParent(program string) (*parent, error) {
	reason, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, "supervise")
	cmd.Dir, cmd.Stderr = "/", write
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	write.Close()
	if err != nil {
		reason.Close()
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	p := &parent{process: cmd.Process, ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		_, _ = reason.WriteTo(&p.said) // ends with the supervisor
		_ = cmd.Wait()                 // the exit code says it all
		p.code = cmd.ProcessState.ExitCode()
	}()
	return p, nil
}

// supervises reports whether the process supervisor has started the gateway that listens.
func supervises(ctx context.Context, supervisor int) bool {
	client, err := api.Reach(ctx)
	if err != nil {
		return false
	}
	defer client.Close()
	status, err := client.Status(ctx)
	if err != nil {
		return false
	}
	stat, err := procfs.ReadStat(status.PID)
	return err == nil && stat.Parent == supervisor
}

// withdraw ends our supervisor, if another one's gateway was quicker. Ours must not come up
// later, perhaps after that one was stopped.
func (p *parent) withdraw() {
	_ = p.process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.ended:
	case <-time.After(withdrawTime):
	}
}

// await waits until a gateway listens, ours or another. again means that another one held
// the lock, and has ended without listening.
func (p *parent) await(ctx context.Context) (again bool, err error) {
	ended := p.ended
	var patience <-chan time.Time // nil until ours has ended
	for {
		if api.Listens(ctx) {
			return false, nil
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-ended:
			if p.code != ExitTaken {
				return false, printed(p.said.bytes(), p.code)
			}
			ended, patience = nil, time.After(takenPatience)
		case <-patience:
			return true, nil
		case <-time.After(connectEvery):
		}
	}
}
