package share

import "openshell-vm/share/layout"

// repair is step 3: it makes auth/ look as after an undisturbed publish, and looks
// again. It keeps what was committed and removes what was not. If it can't mend
// something, and a new generation can be published all the same, that is a warning.
func (t *txn) repair() (*view, error) {
	v, err := t.look()
	if err != nil {
		return nil, err
	}
	if !t.owned {
		if err := t.auth.own(t.authOwner()); err != nil {
			return nil, err
		}
	}
	if err := t.noteNumber(v.highest); err != nil { // the numbers of removed generations stay used
		return nil, err
	}
	t.warn(t.mendData(v))
	t.removeUncommitted(v)
	t.warn(t.mendLinks(v))
	if v.current != 0 {
		t.warn(t.announce(v))
	}
	return t.look()
}

// mendData points a damaged ..data to the newest announced generation, because that one
// was complete. A kill alone never damages ..data.
func (t *txn) mendData(v *view) error {
	if v.current != 0 {
		return nil
	}
	for i := len(v.announced) - 1; i >= 0; i-- {
		if name := layout.Generation(v.announced[i]); t.auth.isDir(name) {
			v.current = v.announced[i]
			return t.place(name, layout.Data)
		}
	}
	return t.auth.removeAll(layout.Data)
}

// removeUncommitted removes generations after the current one, their marks, and unknown
// reserved names.
func (t *txn) removeUncommitted(v *view) {
	for _, name := range v.litter {
		t.warn(t.auth.removeAll(name))
	}
	for _, n := range v.generations {
		if n > v.current {
			t.warn(t.auth.removeAll(layout.Generation(n)))
		}
	}
	for _, n := range v.announced {
		if n > v.current {
			t.warn(t.auth.removeAll(layout.Announcement(n)))
		}
	}
	for _, n := range v.retired {
		if n >= v.current {
			t.warn(t.auth.removeAll(layout.Retired(n)))
		}
	}
}

// mendLinks gives every file of the current generation its user-visible link.
func (t *txn) mendLinks(v *view) error {
	if v.current == 0 {
		return t.fixLinks(v.visible, nil)
	}
	gen, err := t.auth.openDir(layout.Generation(v.current))
	if err != nil {
		return err
	}
	defer gen.close()
	published, err := gen.list() // a name's first component is what has a link
	if err != nil {
		return err
	}
	return t.fixLinks(v.visible, published)
}
