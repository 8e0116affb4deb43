// Package pump moves the bytes between a client's streams and a container's.
package pump

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docker/docker/pkg/stdcopy"
	"golang.org/x/sys/unix"

	"openshell-vm/drivers"
)

// endOfText is what a terminal takes for the end of input.
const endOfText = "\x04"

// Input is what a container reads from. CloseWrite ends it.
type Input interface {
	io.Writer
	CloseWrite() error
}

// Pump connects a client's streams with a container's until the output ends. Without
// input there is only output to read.
type Pump struct {
	Output   io.Reader
	Input    Input
	Terminal bool
	Streams  drivers.Streams
	Resize   func(drivers.Size) error
	Signal   func(sig int)
	// Abandon, if it is not nil, is called when the client is gone before the output has
	// ended. The connections are closed after it: a command takes a closed one for the
	// end of its input.
	Abandon func()
}

// Run returns nil at the output's end. If ctx ends first it returns ctx's error. It
// closes closers in both cases. The goroutine that reads the client's input ends when
// the client closes it.
func (p Pump) Run(ctx context.Context, closers ...io.Closer) error {
	ctx, cancel := context.WithCancel(ctx)
	var helpers sync.WaitGroup
	var ended atomic.Bool
	helpers.Go(func() {
		<-ctx.Done()
		if p.Abandon != nil && !ended.Load() {
			p.Abandon()
		}
		for _, c := range closers {
			c.Close()
		}
	})
	defer helpers.Wait()
	defer cancel()
	if p.Streams.Stdin != nil && p.Input != nil {
		go p.feed()
	}
	helpers.Go(func() { p.follow(ctx) })
	err := p.drain()
	ended.Store(err == nil || IsReset(err))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// Closers are the connections that p reads from and writes to.
func (p Pump) Closers() (all []io.Closer) {
	if c, ok := p.Output.(io.Closer); ok {
		all = append(all, c)
	}
	if c, ok := p.Input.(io.Closer); ok && any(p.Input) != any(p.Output) {
		all = append(all, c)
	}
	return all
}

// feed copies the client's input and passes its end on. A client that is gone,
// or has detached, has ended no input.
func (p Pump) feed() {
	if _, err := io.Copy(p.Input, p.Streams.Stdin); err != nil {
		return
	}
	if p.Terminal {
		_, _ = io.WriteString(p.Input, endOfText)
	} else {
		_ = p.Input.CloseWrite()
	}
}

// drain copies the output until it ends. An error of the output's is a *lostEngine.
func (p Pump) drain() (err error) {
	output := fromEngine{p.Output}
	if p.Terminal {
		_, err = io.Copy(OrDiscard(p.Streams.Stdout), output)
	} else {
		_, err = stdcopy.StdCopy(OrDiscard(p.Streams.Stdout), OrDiscard(p.Streams.Stderr), output)
	}
	return err
}

// lostEngine is an engine's connection that broke.
type lostEngine struct{ err error }

func (e *lostEngine) Error() string { return e.err.Error() }
func (e *lostEngine) Unwrap() error { return e.err }

type fromEngine struct{ r io.Reader }

func (f fromEngine) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && err != io.EOF {
		err = &lostEngine{err}
	}
	return n, err
}

// IsReset says that the engine closed its connection with unread input on it. Podman
// does so when the process has ended. All output came before.
func IsReset(err error) bool {
	return errors.As(err, new(*lostEngine)) && errors.Is(err, unix.ECONNRESET)
}

// follow passes window sizes and signals on. As long as nothing runs a size can't be
// set. It is tried again until a newer one comes.
func (p Pump) follow(ctx context.Context) {
	sizes, signals := p.Streams.Resize, p.Streams.Signals
	if !p.Terminal {
		sizes = nil
	}
	var size drivers.Size
	var again <-chan time.Time
	apply := func() {
		again = nil
		if p.Resize(size) != nil {
			again = time.After(50 * time.Millisecond)
		}
	}
	for {
		select {
		case <-ctx.Done():
			return
		case next, ok := <-sizes:
			if !ok {
				sizes = nil
				continue
			}
			size = next
			apply()
		case <-again:
			apply()
		case sig, ok := <-signals:
			if !ok {
				signals = nil
				continue
			}
			p.Signal(sig)
		}
	}
}

// OrDiscard is w, or what drops all if that is nil.
func OrDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}
