package share

// repair is step 3: it makes auth/ what an undisturbed publish leaves, and
// looks again. What was committed stays committed, what was not goes.
func (t *txn) repair() (*view, error) {
	v, err := t.look()
	if err != nil {
		return nil, err
	}
	for _, mend := range []func(*view) error{
		t.mendOwner, t.mendData, t.removeUncommitted, t.mendLinks, t.mendAnnouncement,
	} {
		if err := mend(v); err != nil {
			return nil, err
		}
	}
	return t.look()
}

func (t *txn) mendOwner(*view) error {
	if t.owned {
		return nil
	}
	return t.auth.own(t.authOwner())
}

// mendData points a damaged ..data to the newest generation that was announced,
// because that one was complete. A kill alone never does this damage.
func (t *txn) mendData(v *view) error {
	if err := t.auth.removeAll(newName); err != nil || v.current != 0 {
		return err
	}
	for i := len(v.announced) - 1; i >= 0; i-- {
		if name := GenerationName(v.announced[i]); t.auth.isDir(name) {
			v.current = v.announced[i]
			return t.auth.place(name, dataName)
		}
	}
	return t.auth.removeAll(dataName)
}

// removeUncommitted removes the generations and announcements after the
// current one, and unknown names that are reserved. The numbers
// stay used.
func (t *txn) removeUncommitted(v *view) error {
	if err := t.noteNumber(v.highest); err != nil {
		return err
	}
	doomed := v.litter
	for _, n := range v.generations {
		if n > v.current {
			doomed = append(doomed, GenerationName(n))
		}
	}
	for _, n := range v.announced {
		if n > v.current {
			doomed = append(doomed, AnnouncementName(n))
		}
	}
	for _, name := range doomed {
		if err := t.auth.removeAll(name); err != nil {
			return err
		}
	}
	return nil
}

// mendLinks gives every file of the current generation its user-visible link.
func (t *txn) mendLinks(v *view) error {
	if v.current == 0 {
		return t.fixLinks(v.visible, nil)
	}
	gen, err := t.auth.openDir(GenerationName(v.current))
	if err != nil {
		return err
	}
	defer gen.close()
	published, err := gen.list()
	if err != nil {
		return err
	}
	return t.fixLinks(v.visible, published)
}

func (t *txn) mendAnnouncement(v *view) error {
	if v.current == 0 {
		return nil
	}
	return t.announce(v)
}
