// Package inroot looks at a share as another process sees it: through that process' own root, in
// whatever mount namespace it is.
//
// What is there may be hostile. A path never leads out of that root, only a share that is this
// host's very directory counts, and all that is read is the link to its current generation. A
// process may have put a file system in the way that never answers: then only the caller of that
// one look gets an error. Such a look keeps its thread until the process has ended, so there are
// at most maxLooks at a time, and one for each key.
//
// What is not promised: that pid still is the process that the caller means. It need not be: a
// process that has this very directory at this place sees what everybody sees who has it there.
package inroot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/internal/inode"
	"openshell-vm/internal/procfs"
	"openshell-vm/share/layout"
)

// The errors beside those of the file system. ErrElsewhere says that the process has another
// directory there, or none; ErrHangs that a look does not end.
var (
	ErrElsewhere = errors.New("it has another directory there than the share")
	ErrHangs     = errors.New("a look into it does not end: it has a file system in the way that does not answer")
	errMany      = errors.New("too many looks do not end")
)

const (
	lookTime = time.Second // a look is a few system calls
	maxLooks = 64
)

// Looker looks through the roots of processes. The zero value works. It is safe for concurrent
// use.
type Looker struct {
	mu    sync.Mutex
	under map[string]*look // the looks under way, by key
}

// look is one look. The rest is set when done is closed.
type look struct {
	done       chan struct{}
	generation uint64
	err        error
}

// Generation returns which generation of the share at auth, a directory of this host, process pid
// sees at target. A caller whose key has a look under way shares its result. The error is
// os.ErrProcessDone if there is no such process.
func (l *Looker) Generation(ctx context.Context, key string, pid int, target, auth string) (uint64, error) {
	one, err := l.begin(key, pid, target, auth)
	if err != nil {
		return 0, err
	}
	late := time.NewTimer(lookTime)
	defer late.Stop()
	select {
	case <-one.done:
		return one.generation, one.err
	case <-late.C:
		return 0, ErrHangs
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// begin begins a look, or finds the one that is under way.
func (l *Looker) begin(key string, pid int, target, auth string) (*look, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if one := l.under[key]; one != nil {
		return one, nil
	}
	if len(l.under) >= maxLooks {
		return nil, errMany
	}
	if l.under == nil {
		l.under = map[string]*look{}
	}
	one := &look{done: make(chan struct{})}
	l.under[key] = one
	go func() {
		one.generation, one.err = generation(pid, target, auth)
		l.mu.Lock()
		delete(l.under, key)
		l.mu.Unlock()
		close(one.done)
	}()
	return one, nil
}

// generation is one look, without a bound.
func generation(pid int, target, auth string) (uint64, error) {
	outside, err := inode.Of(auth)
	if err != nil {
		return 0, err
	}
	root, err := unix.Open(procfs.Path(pid, "root"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH):
		return 0, os.ErrProcessDone
	case err != nil:
		return 0, &fs.PathError{Op: "look into", Path: procfs.Path(pid, "root"), Err: err}
	}
	defer unix.Close(root)
	dir, err := unix.Openat2(root, target, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return 0, fmt.Errorf("%w (%w)", ErrElsewhere, err)
	}
	defer unix.Close(dir)
	if inside, err := inode.OfFile(dir); err != nil || inside != outside {
		return 0, ErrElsewhere
	}
	return current(dir)
}

// current returns the generation that an open share leads to.
func current(dir int) (uint64, error) {
	var link [64]byte
	n, err := unix.Readlinkat(dir, layout.Data, link[:])
	if err != nil {
		return 0, &fs.PathError{Op: "read", Path: layout.Data, Err: err}
	}
	generation, ok := layout.ParseGeneration(string(link[:n]))
	if !ok {
		return 0, fmt.Errorf("%s leads to no generation", layout.Data)
	}
	return generation, nil
}
