package container

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

// pump connects a client's streams with a container's until the output ends. Without
// input there is only output to read.
type pump struct {
	output   io.Reader
	input    Conn
	terminal bool
	streams  drivers.Streams
	resize   func(drivers.Size) error
	signal   func(sig int)
	// abandon, if it is not nil, is called when the client is gone before the output has
	// ended. The connections are closed after it: a command takes a closed one for the
	// end of its input.
	abandon func()
}

// run returns nil at the output's end. If ctx ends first it returns ctx's error. It
// closes closers in both cases. The goroutine that reads the client's input ends when
// the client closes it.
func (p pump) run(ctx context.Context, closers ...io.Closer) error {
	ctx, cancel := context.WithCancel(ctx)
	var helpers sync.WaitGroup
	var ended atomic.Bool
	helpers.Go(func() {
		<-ctx.Done()
		if p.abandon != nil && !ended.Load() {
			p.abandon()
		}
		for _, c := range closers {
			c.Close()
		}
	})
	defer helpers.Wait()
	defer cancel()
	if p.streams.Stdin != nil && p.input != nil {
		go p.feed()
	}
	helpers.Go(func() { p.follow(ctx) })
	err := p.drain()
	ended.Store(err == nil || isReset(err))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// feed copies the client's input and passes its end on. A client that is gone,
// or has detached, has ended no input.
func (p pump) feed() {
	if _, err := io.Copy(p.input, p.streams.Stdin); err != nil {
		return
	}
	if p.terminal {
		_, _ = io.WriteString(p.input, endOfText)
	} else {
		_ = p.input.CloseWrite()
	}
}

// drain copies the output until it ends. An error of the output's is a *lostEngine.
func (p pump) drain() (err error) {
	output := fromEngine{p.output}
	if p.terminal {
		_, err = io.Copy(orDiscard(p.streams.Stdout), output)
	} else {
		_, err = stdcopy.StdCopy(orDiscard(p.streams.Stdout), orDiscard(p.streams.Stderr), output)
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

// isReset says that the engine closed its connection with unread input on it. Podman
// does so when the process has ended. All output came before.
func isReset(err error) bool {
	return errors.As(err, new(*lostEngine)) && errors.Is(err, unix.ECONNRESET)
}

// follow passes window sizes and signals on. As long as nothing runs a size can't be
// set. It is tried again until a newer one comes.
func (p pump) follow(ctx context.Context) {
	sizes, signals := p.streams.Resize, p.streams.Signals
	if !p.terminal {
		sizes = nil
	}
	var size drivers.Size
	var again <-chan time.Time
	apply := func() {
		again = nil
		if p.resize(size) != nil {
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
			p.signal(sig)
		}
	}
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}
