package share

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/share/layout"
)

// File is one file to publish. Name is what a sandbox opens below the share's
// directory; [CheckName] says which are allowed. Data is only read.
type File struct {
	Name string
	Data []byte
}

// Published says what a Publish came to.
type Published struct {
	Generation uint64 // the current one now
	Changed    bool   // false: the content was current already, no new generation was made

	// PruneAt is when to call Prune, so that nothing stays longer than it should;
	// zero if nothing is superseded.
	PruneAt time.Time

	// Warning is what could not be tidied up, told in at most a few lines, or nil:
	// something foreign in auth/, or an old generation, that can't be removed. It
	// keeps nobody from the new generation; each Publish tries it again.
	Warning error
}

// Publish makes the files that build returns the share's content, all at once.
//
// build is called under the share's lock with the number that the new generation
// will have: the next after every number known here, but at least floor (a
// number that the caller remembers elsewhere, for shares on tmpfs). ctx bounds
// the wait for the lock and nothing else.
//
// When the error is not nil and Published.Changed is true, the new generation is
// current all the same, and the next Publish or Repair does what is missing
// (links to new names, the announcement, the sync). When Changed is false with
// an error, the old generation stays current, complete, and nothing new stays
// in auth/.
//
// The steps, of which any may be the last one of a killed process. Where there is no
// room for 6 to 9, they are done once more in a blank of the Reserve.
//
//  1. Open the share's directories, check who owns them, lock.
//  2. List auth/ to find the current generation and the numbers in use.
//  3. Repair what a killed publish left.
//  4. Have the content built, and validate its names before anything is written.
//  5. If content, owners and modes are what is current already, go to 12.
//  6. Note the number as used; make the new generation's directory, closed
//     to others.
//  7. Write each file with O_EXCL; set owner and mode by descriptor
//     (durable: fsync).
//  8. Set the directory's owner and mode (durable: fsync).
//  9. Make a link to the new generation under a temporary name.
//  10. Commit: rename that link to ..data.
//  11. Durable: fsync auth/.
//  12. Make or correct the user-visible links, one per name; remove those whose
//     names are not published any more (durable: fsync if one changed).
//  13. Announce: make ..is-N. Who sees it finds N current. If the number before N
//     was never current, make ..is-M too, where M follows the number
//     that was, because that is the one a guest asks for.
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

	if err := t.makeCurrent(next, v.current, files); err != nil { // steps 6 to 10
		return Published{}, t.abandon(next, v, err)
	}
	v.generations = append(v.generations, next)
	v.current = next
	pruneAt, err := t.settle(v, files)
	return Published{Generation: next, Changed: true, PruneAt: pruneAt}, err
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

// makeCurrent is steps 6 to 10.
func (t *txn) makeCurrent(n, current uint64, files []File) error {
	err := t.write(n, files)
	if err == nil {
		err = t.commit(n)
	}
	if !IsFull(err) || t.opts.Reserve == nil {
		return err
	}
	t.warn(t.auth.removeAll(layout.New(n)))
	t.warn(t.auth.removeAll(layout.Generation(n)))
	switch reserved := t.fill(n, current, files); {
	case errors.Is(reserved, errNoBlank):
		return err
	case reserved != nil:
		return reserved
	}
	return t.commit(n)
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

// abandon is the other exit than commit: it takes generation n away and
// returns err. What it can't remove, the next repair does. All that is past the
// grace goes too: it may be what fills the disk.
func (t *txn) abandon(n uint64, v *view, err error) error {
	t.warn(t.auth.removeAll(layout.New(n)))
	t.warn(t.auth.removeAll(layout.Generation(n)))
	t.prune(v, time.Now(), 0)
	return err
}

// settle is steps 11 to 14: what follows a commit, and what stays to be done when there was
// nothing to commit. None of them waits for another to succeed.
func (t *txn) settle(v *view, files []File) (pruneAt time.Time, err error) {
	t.step(11)
	err = t.syncAuth()
	err = errors.Join(err, t.fixLinks(v.visible, names(files))) // step 12
	t.step(13)
	err = errors.Join(err, t.announce(v))
	t.step(14)
	return t.prune(v, time.Now(), t.opts.Overlap), err
}

// fixLinks is step 12: the user-visible names become links to those of wanted,
// and no others. The error is about wanted ones.
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

// announce is step 13. ..is-N comes last: where it is, nothing is missing.
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

// asked is the number that a guest asks for: the one after the last that was
// current before, which is the last that was announced as complete.
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

func names(files []File) []string {
	list := make([]string, len(files))
	for i, f := range files {
		list[i] = f.Name
	}
	return list
}

// place makes name a link to target, whatever was there, without a moment in
// which there is none.
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

// replace renames from to name; where a directory is in the way, it goes.
func (d dir) replace(from, name string) error {
	err := d.rename(from, name)
	if isErrno(err, unix.EISDIR) {
		if err = d.removeAll(name); err == nil {
			err = d.rename(from, name)
		}
	}
	return err
}
