package share

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/share/layout"
)

// Keep leaves [Options.UID] or [Options.GID] as the file system sets it.
const Keep = -1

// DefaultGrace is the shortest time for which a superseded generation is kept
// when [Options.Grace] is zero.
const DefaultGrace = 10 * time.Second

// Options say how a share is written. They are not stored: give the same ones
// each time. Changed ones take effect at the next Publish or Repair.
type Options struct {
	// Durable fsyncs, so that a generation that was reported as published is
	// there after a power failure. Shares on tmpfs don't need it.
	Durable bool

	// DirMode and FileMode are the modes of what is inside; zero means 0555
	// and 0444. auth/ itself has DirMode and is writable for its owner.
	// Modes that let others write are refused.
	DirMode, FileMode fs.FileMode

	// UID and GID own auth/ and all in it; Keep leaves them. The zero value
	// is root, which only root can give.
	UID, GID int

	// Grace is how long a superseded generation stays readable as a whole; zero
	// means DefaultGrace. Whoever may still have its name in a cache needs it.
	Grace time.Duration

	// Overlap is how long that stays readable of it which was not withdrawn: some
	// readers resolve a path once and hold on to that. Less than Grace means Grace.
	Overlap time.Duration

	// Renewed says of a file in a superseded generation, of which the current one
	// has none or another, whether a mere renewal superseded it. Any other was
	// withdrawn: somebody removed or replaced it, and it goes after the grace. Nil
	// means that all were. It is called under the share's lock.
	Renewed func(name string, data []byte) bool

	// Reserve, if set, is room on the same file system for when that is full.
	Reserve *Reserve

	// Step, if set, is called as each numbered step of Publish begins, once
	// per file in the steps that go through files. Tests inject faults there.
	Step func(n int)
}

// Share is one share's path and options. It holds no descriptor and no state
// between calls, so ten thousand cost nothing; copies are equal. All methods
// may be called concurrently, from several processes too: the share's lock
// puts writers in order.
type Share struct {
	path string
	opts Options
}

// Create makes the share at path, an absolute path whose parent exists, and
// returns it. It completes one that a killed process left half-made and leaves
// alone what is there, so it also opens: auth/ is never replaced.
func Create(path string, opts Options) (*Share, error) {
	s, err := newShare(path, opts)
	if err != nil {
		return nil, err
	}
	if err := s.create(); err != nil {
		return nil, err
	}
	return s, s.check()
}

// Open returns the share at path after checking that it is there, belongs to
// this user and is closed to others.
func Open(path string, opts Options) (*Share, error) {
	s, err := newShare(path, opts)
	if err != nil {
		return nil, err
	}
	return s, s.check()
}

// At names the share at path without looking at it: a writer that keeps shares
// whatever has become of them learns of a missing one from Publish.
func At(path string, opts Options) (*Share, error) { return newShare(path, opts) }

func newShare(path string, opts Options) (*Share, error) {
	if opts.DirMode == 0 {
		opts.DirMode = 0o555
	}
	if opts.FileMode == 0 {
		opts.FileMode = 0o444
	}
	if opts.Grace == 0 {
		opts.Grace = DefaultGrace
	}
	if (opts.DirMode|opts.FileMode)&^fs.ModePerm != 0 || (opts.DirMode|opts.FileMode)&0o022 != 0 {
		return nil, &Error{Op: "open", Path: path, Err: ErrMode}
	}
	return &Share{path: filepath.Clean(path), opts: opts}, nil
}

// Dir is the share's own directory, which is never mounted.
func (s *Share) Dir() string { return s.path }

// AuthDir is the directory to mount, read-only, into the sandbox.
func (s *Share) AuthDir() string { return filepath.Join(s.path, layout.Auth) }

func (s *Share) authOwner() owner {
	return owner{s.opts.UID, s.opts.GID, uint32(s.opts.DirMode.Perm() | 0o200)}
}

func (s *Share) dirOwner() owner {
	return owner{s.opts.UID, s.opts.GID, uint32(s.opts.DirMode.Perm())}
}

func (s *Share) fileOwner() owner {
	return owner{s.opts.UID, s.opts.GID, uint32(s.opts.FileMode.Perm())}
}

func (s *Share) step(n int) {
	if s.opts.Step != nil {
		s.opts.Step(n)
	}
}

// create makes what is missing of the two directories.
func (s *Share) create() error {
	parent, err := openDir(filepath.Dir(s.path))
	if err != nil {
		return err
	}
	defer parent.close()
	root, err := s.makeDir(parent, filepath.Base(s.path), owner{Keep, Keep, privateDir})
	if err != nil {
		return err
	}
	defer root.close()
	auth, err := s.makeDir(root, layout.Auth, s.authOwner())
	if err != nil {
		return err
	}
	auth.close()
	return nil
}

// makeDir opens the directory, after making it where it does not exist.
func (s *Share) makeDir(parent dir, name string, o owner) (dir, error) {
	made, err := parent.make(name)
	if isExist(err) {
		return parent.openDir(name)
	}
	if err != nil {
		return made, err
	}
	err = made.own(o)
	if err == nil && s.opts.Durable {
		err = parent.sync()
	}
	if err != nil {
		made.close()
	}
	return made, err
}

// check opens all and closes it again.
func (s *Share) check() error {
	t, err := s.open()
	if err != nil {
		return err
	}
	t.close()
	return nil
}

// Repair completes or takes away what a killed writer left: half-written
// generations, temporary links, a missing announcement, wrong user-visible
// links. It also restores ..data from the newest announced generation when it
// was damaged. What can't be mended keeps nothing else from it, and is in the
// error. ctx bounds the wait for the lock.
func (s *Share) Repair(ctx context.Context) error {
	return s.locked(ctx, func(t *txn) error {
		_, err := t.repair()
		return errors.Join(err, t.warning())
	})
}

// Prune removes what is due of the superseded generations, as each Publish does
// too: after the grace what was withdrawn, after the overlap all. It returns
// when the next of it will be due, zero if nothing is superseded; call it then, so
// that an old secret does not stay until the next publish. What can't be removed
// keeps nothing else, and is in the error. ctx bounds the wait for the lock.
func (s *Share) Prune(ctx context.Context, now time.Time) (next time.Time, err error) {
	err = s.locked(ctx, func(t *txn) error {
		seen, err := t.look()
		if err != nil {
			return err
		}
		next = t.prune(seen, now, t.opts.Overlap)
		return t.warning()
	})
	return next, err
}

// removeTries bounds the races that Remove may lose against writers that come
// all the time.
const removeTries = 1000

// Remove deletes the share and all in it. A sandbox that still has it mounted
// keeps an empty directory. That there is none is no error, so a Remove that
// was killed can be repeated. ctx bounds the wait for the lock.
func (s *Share) Remove(ctx context.Context) error {
	parent, err := openDir(filepath.Dir(s.path))
	if isNotExist(err) {
		return nil
	} else if err != nil {
		return err
	}
	defer parent.close()
	name := filepath.Base(s.path)
	t, err := s.openRoot()
	if isNotExist(err) {
		return nil
	} else if err != nil {
		return err
	}
	defer t.close()
	if err := t.lock(ctx); isNotExist(err) {
		return nil
	} else if err != nil {
		return err
	}
	if err := t.root.removeAll(layout.Auth); err != nil {
		return err
	}
	return t.removeRoot(parent, name)
}

// removeRoot removes the lock file and then the share's directory. A writer that
// comes in between makes the lock file anew and fails for want of auth/.
func (t *txn) removeRoot(parent dir, name string) (err error) {
	for range removeTries {
		if err := t.root.removeAll(layout.Lock); err != nil {
			return err
		}
		if err = parent.unlink(name, unix.AT_REMOVEDIR); !isErrno(err, unix.ENOTEMPTY) || t.root.isDir(layout.Auth) {
			break
		}
	}
	if isNotExist(err) {
		return nil // another Remove was faster
	}
	return err
}
