package logs

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"openshell-vm/gateway/api"
)

// settled is how long nothing has to come until what was stored counts as read.
const settled = time.Second

// followTail prints the last n lines and then what comes. It reads both as one stream, so
// that no line is lost or doubled between them. Before, it reads the log once to count
// it: the stream's first so many bytes are what was stored.
func followTail(ctx context.Context, client *api.Client, ref string, n int) error {
	var stored counter
	if err := client.Logs(ctx, ref, false, &stored, &stored); err != nil {
		return err
	}
	f := newFollower(n, int64(stored))
	err := follow(ctx, client, ref, f.to(os.Stdout), f.to(os.Stderr))
	return errors.Join(err, f.close())
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// follower keeps the last lines of what was stored. Where that ends it prints them, and
// passes on what comes after.
type follower struct {
	n int

	mu    sync.Mutex
	end   tail
	left  int64 // bytes of what was stored that have not come yet
	live  bool
	err   error
	quiet *time.Timer // fires when less comes than was counted, because the oldest part was rotated away
}

func newFollower(n int, stored int64) *follower {
	return &follower{n: n, left: stored, live: stored == 0}
}

func (f *follower) to(out *os.File) io.Writer { return followed{f, out} }

type followed struct {
	f   *follower
	out *os.File
}

func (w followed) Write(p []byte) (int, error) {
	f := w.f
	f.mu.Lock()
	defer f.mu.Unlock()
	old := 0
	if !f.live {
		old = int(min(int64(len(p)), f.left))
		f.end.to(w.out, f.n).Write(p[:old])
		if f.left -= int64(old); f.left == 0 {
			f.goLive()
		} else {
			f.await()
		}
	}
	if f.err != nil || old == len(p) {
		return old, f.err
	}
	n, err := w.out.Write(p[old:])
	return old + n, err
}

// await prints what is kept once nothing has come for a while.
func (f *follower) await() {
	if f.quiet == nil {
		f.quiet = time.AfterFunc(settled, func() { f.close() })
	}
	f.quiet.Reset(settled)
}

// goLive prints what is kept. The caller holds f.mu.
func (f *follower) goLive() {
	if !f.live {
		f.live, f.err = true, f.end.print(f.n)
		f.end = tail{}
	}
}

// close prints what is kept, if that has not been done.
func (f *follower) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.goLive()
	return f.err
}
