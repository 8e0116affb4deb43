package share

import (
	"bytes"
	"slices"

	"openshell-vm/share/layout"
)

// isCurrent is step 5: it reports whether publishing files would change nothing. A file
// that can't be read counts as changed.
func (t *txn) isCurrent(n uint64, files []File) bool {
	if n == 0 {
		return false
	}
	gen, err := t.auth.openDir(layout.Generation(n))
	if err != nil {
		return false
	}
	defer gen.close()
	for _, f := range files {
		data, st, err := gen.readIn(f.Name)
		if err != nil || !bytes.Equal(data, f.Data) || !t.ownerOf(f).matches(st) {
			return false
		}
	}
	st, err := gen.stat()
	if err != nil || !t.dirOwner().matches(st) {
		return false
	}
	there, dirs, err := gen.tree()
	return err == nil && len(there) == len(files) && t.sameDirs(gen, dirs, dirsOf(files))
}

// write is steps 6 to 8: it makes generation n, complete but not yet current.
func (t *txn) write(n uint64, files []File) error {
	t.step(6)
	if err := t.noteNumber(n); err != nil {
		return err
	}
	gen, err := t.auth.make(layout.Generation(n))
	if err != nil {
		return err
	}
	defer gen.close()
	dirs := dirsOf(files)
	if err := gen.makeDirs(dirs); err != nil {
		return err
	}
	for _, f := range files {
		t.step(7)
		if err := t.writeFile(gen, f); err != nil {
			return err
		}
	}
	return t.sealAll(gen, dirs)
}

// writeFile makes a file of a generation, whose directory is there.
func (t *txn) writeFile(gen dir, f File) error {
	return gen.in(f.Name, func(in dir, base string) error {
		return in.write(base, f.Data, t.ownerOf(f), t.opts.Durable)
	})
}

// sealAll is step 8: a generation and the directories below it, the deepest first.
func (t *txn) sealAll(gen dir, dirs []string) error {
	t.step(8)
	for _, name := range slices.Backward(dirs) { // who is not root may lose the way
		if err := gen.within(name, t.seal); err != nil {
			return err
		}
	}
	return t.seal(gen)
}

// seal gives one directory its final owner and mode, and syncs it.
func (t *txn) seal(gen dir) error {
	if err := gen.own(t.dirOwner()); err != nil {
		return err
	}
	if !t.opts.Durable {
		return nil
	}
	return gen.sync()
}
