package api

import (
	"context"
	"fmt"
	"os"
	"time"

	"openshell-vm/internal/peer"
	"openshell-vm/internal/procfs"
)

// Deadlines for the beginning of an answer. They are generous: a busy host is no reason to
// give up. They are variables for tests.
var (
	meetDeadline  = 10 * time.Second // for a request that waits for nothing
	shortDeadline = 30 * time.Second // for a request that may wait a moment for engines
)

// meet asks the gateway for its status. So a gateway that does not answer is noticed
// before a request that may take long.
func (c *Client) meet(ctx context.Context) (err error) {
	bounded, cancel := bound(ctx, c, meetDeadline)
	defer cancel()
	if c.met, err = call[Status](bounded, c, "GET", "/v1/status", nil); err != nil {
		return err
	}
	own, err := StateDir()
	if err != nil {
		return err
	}
	if sameDir(own, c.met.StateDir) {
		return nil
	}
	return &Error{Code: CodeConflict,
		Message: fmt.Sprintf("the gateway that answers (process %d) is that of the state directory %s, not of %s: "+
			"that was moved or copied, or both share a runtime directory",
			c.met.PID, c.met.StateDir, own),
		Hint: fmt.Sprintf("if it was moved, end that gateway (kill %d) and try again; "+
			"if it was copied, give each its own %s", c.met.PID, EnvRuntimeDir)}
}

// sameDir compares by device and inode: a copied directory has the same id.
func sameDir(a, b string) bool {
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}

// short is call for requests whose answer begins soon.
func short[Out any](ctx context.Context, c *Client, method, path string, in any) (Out, error) {
	ctx, cancel := bound(ctx, c, shortDeadline)
	defer cancel()
	return call[Out](ctx, c, method, path, in)
}

// bound ends ctx after that time, with an error that names the gateway's process.
func bound(ctx context.Context, c *Client, after time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(after, func() { cancel(silent(c.pid(), after)) })
	return ctx, func() {
		timer.Stop()
		cancel(context.Canceled)
	}
}

// pid returns the pid of the process that listens. If nobody can be reached, it is the pid
// that Connect met; 0 if there was none.
func (c *Client) pid() int {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second) // a full backlog blocks
	defer cancel()
	conn, err := peer.Dial(ctx, c.socket, c.owner)
	if err != nil {
		return c.met.PID
	}
	defer conn.Close()
	cred, err := peer.Of(conn)
	if err != nil {
		return c.met.PID
	}
	return int(cred.Pid)
}

// silent is the error for a gateway that lives and does not answer.
func silent(pid int, after time.Duration) error {
	e := &Error{Code: CodeInternal, Message: fmt.Sprintf("the gateway does not answer, for %s", after),
		Hint: "read gateway.log in the state directory; sandboxes go on if you end the gateway, and the next command starts another one"}
	if pid == 0 {
		return e
	}
	e.Message = fmt.Sprintf("the gateway (process %d) does not answer, for %s", pid, after)
	e.Hint = fmt.Sprintf("kill -9 %d ends it: sandboxes go on, and another one is started; "+
		"gateway.log in the state directory may tell why", pid)
	if stat, _ := procfs.ReadStat(pid); stat.State == "T" || stat.State == "t" {
		e.Message += ": it is stopped (by SIGSTOP, or a debugger)"
		e.Hint = fmt.Sprintf("kill -CONT %d lets it go on", pid)
	}
	return e
}
