package share

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/share/blanks"
	"openshell-vm/share/layout"
)

// File is one file to publish. Name is what a sandbox opens below the share's
// directory, with slashes if it lies in directories of its own; [CheckName] says which are
// allowed. Data is only read.
type File struct {
	Name string
	Data []byte
	// Mode is the file's mode; zero means Options.FileMode. One that lets others write is
	// refused.
	Mode fs.FileMode
	// Owner owns the file; nil means Options.Owner. Only root can give files away.
	Owner *Owner
	// Later lets the publish go on without a change of this file if the file system is full:
	// the file of before stays, or there is none.
	Later bool
}

// Published is the result of a Publish.
type Published struct {
	Generation uint64 // the current generation now
	Changed    bool   // a new generation was made; false if the content was current already
	// Held are the names of the files with File.Later for whose change there was no room, each
	// with a comma after it.
	Held string

	// PruneAt is when to call Prune, so that nothing stays longer than it should; zero
	// if nothing is superseded.
	PruneAt time.Time

	// Warning says in a few lines what could not be tidied up: something foreign in
	// auth/, or an old generation, that can't be removed. The new generation is in place
	// all the same, and each Publish tries again. Nil if all went well.
	Warning error
}

// Publish makes the files that build returns the share's content, all at once.
//
// It calls build under the share's lock, with the number that the new generation will
// have. That number is higher than every number known here, and at least floor: a number
// that the caller remembers elsewhere, for shares on tmpfs. ctx bounds only the wait for
// the lock.
//
// After an error with Published.Changed true, the new generation is current all the
// same. The next Publish or Repair does what is missing (links to new names, the
// announcement, the sync). After an error with Changed false, the old generation stays
// current and complete, and nothing new stays in auth/.
//
// The steps follow; a process may be killed after any of them. If the file system has no
// room for steps 6 to 9, they are done once more in a blank of the Reserve.
//
//  1. Open the share's directories, check who owns them, lock.
//  2. List auth/ to find the current generation and the numbers in use.
//  3. Repair what a killed publish left.
//  4. Call build, and validate the names before anything is written.
//  5. If content, owners and modes are current already, go to 11.
//  6. Note the number as used; make the new generation's directory, closed
//     to others, and the directories in it.
//  7. Write each file with O_EXCL; set owner and mode by descriptor
//     (durable: fsync).
//  8. Set the directories' owner and mode (durable: fsync).
//  9. Make a link to the new generation under a temporary name.
//  10. Commit: rename that link to ..data.
//  11. Durable: fsync auth/.
//  12. Make or correct the user-visible links, one for each name's first component; remove
//     those whose names are not published any more (durable: fsync if one changed).
//  13. Announce: make ..is-N. Whoever sees it finds N current. If the number before
//     N was never current, also make ..is-M, where M follows the last number that
//     was: a guest asks for M.
//  14. Prune what is due of the superseded generations.
//  15. Unlock.
func (s *Share) Publish(ctx context.Context, floor uint64, build func(generation uint64) ([]File, error)) (p Published, err error) {
	s.step(1)
	err = s.locked(ctx, func(t *txn) error {
		p, err = t.publish(floor, build)
		p.Warning = t.warning()
		t.step(15) // locked unlocks
		return err
	})
	return p, err
}

func (t *txn) publish(floor uint64, build func(uint64) ([]File, error)) (Published, error) {
	t.step(2)
	v, err := t.look()
	if err != nil {
		return Published{}, err
	}

	t.step(3)
	if !v.finished() || !t.owned {
		if v, err = t.repair(); err != nil {
			return Published{}, err
		}
	}

	t.step(4)
	next := max(v.highest+1, floor)
	files, err := t.content(next, build)
	if err != nil {
		return Published{}, err
	}

	t.step(5)
	if t.isCurrent(v.current, files) {
		pruneAt, err := t.settle(v, files)
		return Published{Generation: v.current, PruneAt: pruneAt}, err
	}

	files, held, err := t.makeCurrent(next, v.current, files) // steps 6 to 10
	if err != nil {
		return Published{}, t.abandon(next, v, err)
	}
	v.generations = append(v.generations, next)
	v.current = next
	pruneAt, err := t.settle(v, files)
	return Published{Generation: next, Changed: true, Held: held, PruneAt: pruneAt}, err
}

// content is step 4.
func (t *txn) content(next uint64, build func(uint64) ([]File, error)) ([]File, error) {
	if next > MaxGeneration {
		return nil, &Error{Op: "publish", Path: t.path, Err: ErrExhausted}
	}
	files, err := build(next)
	if err == nil {
		err = checkFiles(files)
	}
	if err != nil {
		return nil, &Error{Op: "publish", Path: t.path, Err: err}
	}
	return files, nil
}

// makeCurrent is steps 6 to 10. It returns the files that are published, and whose change is not.
func (t *txn) makeCurrent(n, current uint64, files []File) (published []File, held string, err error) {
	err = t.write(n, files)
	if err == nil {
		err = t.commit(n)
	}
	full := err
	if !IsFull(full) || t.opts.Reserve == nil {
		return files, "", full
	}
	t.warn(t.auth.removeAll(layout.New(n)))
	t.warn(t.auth.removeAll(layout.Generation(n)))
	if published, held, err = t.hold(current, files); err != nil {
		return nil, "", err
	}
	switch reserved := t.fill(n, current, published); {
	case errors.Is(reserved, blanks.ErrNone):
		return nil, "", full
	case reserved != nil:
		return nil, "", reserved
	}
	return published, held, t.commit(n)
}

// commit is steps 9 and 10.
func (t *txn) commit(n uint64) error {
	t.step(9)
	link := layout.New(n)
	if err := t.auth.symlink(layout.Generation(n), link); err != nil {
		return err
	}
	t.step(10)
	return t.auth.replace(link, layout.Data)
}

// abandon undoes makeCurrent: it removes generation n and returns err. If it can't
// remove something, the next repair tries again. It also removes all superseded
// generations that are past the grace, since these may be what fills the disk.
func (t *txn) abandon(n uint64, v *view, err error) error {
	t.warn(t.auth.removeAll(layout.New(n)))
	t.warn(t.auth.removeAll(layout.Generation(n)))
	t.prune(v, time.Now(), 0)
	return err
}

// settle is steps 11 to 14, which follow a commit, and also step 5 if there is nothing
// to commit. Each is done even if an earlier one failed.
func (t *txn) settle(v *view, files []File) (pruneAt time.Time, err error) {
	t.step(11)
	err = t.syncAuth()
	err = errors.Join(err, t.fixLinks(v.visible, tops(files))) // step 12
	t.step(13)
	err = errors.Join(err, t.announce(v))
	t.step(14)
	return t.prune(v, time.Now(), t.opts.Overlap), err
}

// fixLinks is step 12: each name of wanted becomes a link to its file, and all other
// visible names go. The error is about wanted names; failing to remove one is a warning.
func (t *txn) fixLinks(visible, wanted []string) error {
	changed := false
	var failed error
	for _, name := range wanted {
		t.step(12)
		if target, err := t.auth.readlink(name); err == nil && target == layout.Link(name) {
			continue
		}
		changed = true
		failed = errors.Join(failed, t.place(layout.Link(name), name))
	}
	for _, name := range visible {
		if !slices.Contains(wanted, name) {
			changed = true
			t.warn(t.auth.removeAll(name))
		}
	}
	if !changed {
		return failed
	}
	return errors.Join(failed, t.syncAuth())
}

// announce is step 13. It makes ..is-N last: where that exists, nothing is missing.
func (t *txn) announce(v *view) error {
	for _, n := range slices.Compact([]uint64{v.asked(), v.current}) {
		if contains(v.announced, n) {
			continue
		}
		if err := t.auth.write(layout.Announcement(n), nil, t.fileOwner(), false); err != nil {
			return err
		}
		v.announced = append(v.announced, n)
		slices.Sort(v.announced)
	}
	return nil
}

// asked returns the number that a guest asks for: the one after the generation that it
// last saw as current. That is the last one before v.current that is announced.
func (v *view) asked() uint64 {
	i, _ := slices.BinarySearch(v.generations, v.current)
	for i--; i >= 0; i-- {
		if n := v.generations[i]; contains(v.announced, n) {
			return n + 1
		}
	}
	return v.current
}

func (t *txn) syncAuth() error {
	if !t.opts.Durable {
		return nil
	}
	return t.auth.sync()
}

// place makes name a link to target, whatever was there before. At every moment there is
// either the old or the new one.
func (t *txn) place(target, name string) error {
	link := layout.New(t.usedNumber())
	if err := t.auth.symlink(target, link); err != nil {
		return err
	}
	err := t.auth.replace(link, name)
	if err != nil {
		t.warn(t.auth.removeAll(link))
	}
	return err
}

// replace renames from to name. It removes a directory that is in the way.
func (d dir) replace(from, name string) error {
	err := d.rename(from, name)
	if isErrno(err, unix.EISDIR) {
		if err = d.removeAll(name); err == nil {
			err = d.rename(from, name)
		}
	}
	return err
}
