package share

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/share/blanks"
	"openshell-vm/share/layout"
)

// keep, as a uid or gid, leaves the owner as the file system sets it.
const keep = -1

// Owner is a user and a group, by their numbers.
type Owner struct{ UID, GID int }

// DefaultGrace is the grace if [Options.Grace] is zero.
const DefaultGrace = 10 * time.Second

// Options say how a share is written. They are not stored: pass the same Options each
// time. Changed ones take effect at the next Publish or Repair.
type Options struct {
	// Durable makes Publish fsync, so that a generation that was reported as published
	// is there after a power failure. Shares on tmpfs don't need it.
	Durable bool

	// DirMode and FileMode are the modes of generations and their files; zero means
	// 0555 and 0444. auth/ itself has DirMode and is writable for its owner. Modes that
	// let others write are refused.
	DirMode, FileMode fs.FileMode

	// Owner owns auth/ and all in it; nil leaves that to the file system. Only root can
	// give files away.
	Owner *Owner

	// Grace is how long a superseded generation stays readable as a whole; zero means
	// DefaultGrace. It has to cover the time for which a cache may hold its name.
	Grace time.Duration

	// Overlap is how long a superseded generation's files that were not withdrawn stay
	// readable: some readers resolve a path once and keep the result. Less than Grace
	// means Grace.
	Overlap time.Duration

	// Renewed is asked about a file of a superseded generation that the current one
	// lacks or has with another content. It reports whether only a renewal superseded
	// that file. Otherwise the file counts as withdrawn and goes after the grace. A nil
	// Renewed means that all such files are withdrawn. It is called under the share's
	// lock.
	Renewed func(name string, data []byte) bool

	// Reserve, if set, is room on the same file system for when that is full.
	Reserve *blanks.Reserve

	// Step, if set, is called when a numbered step of Publish begins, and for each file
	// in the steps that go through files. Tests inject faults there.
	Step func(n int)
}

// Share is one share's path and options. Between calls it holds no descriptor and no
// state, so ten thousand of them cost nothing, and a copy is as good as the original.
// All methods may be called concurrently, from several processes too: writers wait for
// the share's lock.
type Share struct {
	path string
	opts Options
}

// Create makes the share at path, an absolute path whose parent exists, and returns it.
// It opens a share that exists, and completes one that a killed process left half-made.
// It never replaces auth/.
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

// Open returns the share at path. It checks that the share is there, belongs to this
// user and is closed to others.
func Open(path string, opts Options) (*Share, error) {
	s, err := newShare(path, opts)
	if err != nil {
		return nil, err
	}
	return s, s.check()
}

// At returns the share at path without looking at it. If the share is missing, Publish
// fails.
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

// WithoutReserve returns the same share, for publishes that are not to use its reserve.
func (s *Share) WithoutReserve() *Share {
	other := *s
	other.opts.Reserve = nil
	return &other
}

// Dir returns the share's own directory, which is never mounted.
func (s *Share) Dir() string { return s.path }

// AuthDir returns the directory to mount read-only into the sandbox.
func (s *Share) AuthDir() string { return filepath.Join(s.path, layout.Auth) }

// owner is who owns auth/ and all in it, with a mode.
func (s *Share) owner(mode fs.FileMode) owner {
	if o := s.opts.Owner; o != nil {
		return owner{o.UID, o.GID, uint32(mode)}
	}
	return owner{keep, keep, uint32(mode)}
}

func (s *Share) authOwner() owner {
	return s.owner(s.opts.DirMode.Perm() | 0o200)
}

func (s *Share) dirOwner() owner {
	return s.owner(s.opts.DirMode.Perm())
}

func (s *Share) fileOwner() owner {
	return s.owner(s.opts.FileMode.Perm())
}

// ownerOf is the owner and mode of a file to publish.
func (s *Share) ownerOf(f File) owner {
	o := s.fileOwner()
	if f.Mode != 0 {
		o.mode = uint32(f.Mode.Perm())
	}
	if f.Owner != nil {
		o.uid, o.gid = f.Owner.UID, f.Owner.GID
	}
	return o
}

func (s *Share) step(n int) {
	if s.opts.Step != nil {
		s.opts.Step(n)
	}
}

// create makes the two directories, unless they exist.
func (s *Share) create() error {
	parent, err := openDir(filepath.Dir(s.path))
	if err != nil {
		return err
	}
	defer parent.close()
	root, err := s.makeDir(parent, filepath.Base(s.path), owner{keep, keep, privateDir})
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

// makeDir opens the directory. It makes it first if it does not exist.
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

// check opens the share's directories and lock file, and closes them again.
func (s *Share) check() error {
	t, err := s.open()
	if err != nil {
		return err
	}
	t.close()
	return nil
}

// Repair completes or removes what a killed writer left: half-written generations,
// temporary links, a missing announcement, wrong user-visible links. It also restores a
// damaged ..data from the newest announced generation. If something can't be mended, it
// still mends the rest and returns an error. ctx bounds the wait for the lock.
func (s *Share) Repair(ctx context.Context) error {
	return s.locked(ctx, func(t *txn) error {
		_, err := t.repair()
		return errors.Join(err, t.warning())
	})
}

// Prune removes what is due of the superseded generations, as each Publish does: after
// the grace what was withdrawn, after the overlap all. It returns when the next removal
// is due; zero if nothing is superseded. Call it then, so that an old secret does not
// stay until the next Publish. If something can't be removed, it still removes the rest
// and returns an error. ctx bounds the wait for the lock.
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

// removeTries bounds how many races Remove may lose against writers.
const removeTries = 1000

// Remove deletes the share and all in it. A sandbox that still has it mounted keeps an
// empty directory. A missing share is no error, so a killed Remove can be repeated. ctx
// bounds the wait for the lock.
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

// removeRoot removes the lock file and then the share's directory. A writer that comes
// in between makes the lock file again, and then fails because auth/ is missing.
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
