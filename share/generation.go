package share

import (
	"bytes"

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
		data, st, err := gen.read(f.Name)
		if err != nil || !bytes.Equal(data, f.Data) || !t.fileOwner().matches(st) {
			return false
		}
	}
	st, err := gen.stat()
	if err != nil || !t.dirOwner().matches(st) {
		return false
	}
	names, err := gen.list()
	return err == nil && len(names) == len(files)
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
	for _, f := range files {
		t.step(7)
		if err := gen.write(f.Name, f.Data, t.fileOwner(), t.opts.Durable); err != nil {
			return err
		}
	}
	return t.seal(gen)
}

// seal is step 8.
func (t *txn) seal(gen dir) error {
	t.step(8)
	if err := gen.own(t.dirOwner()); err != nil {
		return err
	}
	if !t.opts.Durable {
		return nil
	}
	return gen.sync()
}
