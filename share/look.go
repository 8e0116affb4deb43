package share

import (
	"slices"
	"strings"

	"openshell-vm/share/layout"
)

// view is what one listing of auth/ shows.
type view struct {
	current     uint64   // the generation that ..data links to; 0 if there is none
	generations []uint64 // ascending
	announced   []uint64 // ascending
	retired     []uint64 // ascending; once announced, no longer complete
	visible     []string // names that are not reserved
	litter      []string // reserved names that are none of ours
	highest     uint64   // the highest number among all these and in the lock file
}

// look lists auth/ and reads ..data. It changes nothing.
func (t *txn) look() (*view, error) {
	names, err := t.auth.list()
	if err != nil {
		return nil, err
	}
	v := &view{}
	linked := false
	for _, name := range names {
		if n, ok := layout.ParseGeneration(name); ok {
			v.generations = append(v.generations, n)
		} else if n, ok := layout.ParseAnnouncement(name); ok {
			v.announced = append(v.announced, n)
		} else if n, ok := layout.ParseRetired(name); ok {
			v.retired = append(v.retired, n)
		} else if name == layout.Data {
			linked = true
		} else if strings.HasPrefix(name, layout.Reserved) {
			v.litter = append(v.litter, name)
		} else {
			v.visible = append(v.visible, name)
		}
	}
	slices.Sort(v.generations)
	slices.Sort(v.announced)
	slices.Sort(v.retired)
	v.highest = max(last(v.generations), last(v.announced), last(v.retired), t.usedNumber())
	if linked {
		v.readLink(t)
	}
	return v, nil
}

// readLink finds the current generation. If ..data is not a link to a generation,
// repair mends it.
func (v *view) readLink(t *txn) {
	target, err := t.auth.readlink(layout.Data)
	if err != nil {
		return
	}
	if n, ok := layout.ParseGeneration(target); ok {
		v.highest = max(v.highest, n)
		if t.auth.isDir(target) {
			v.current = n
		}
	}
}

// finished reports whether the last publish got as far as its announcement. Then all
// steps before that are done, too, and there is nothing to repair.
func (v *view) finished() bool {
	return v.current != 0 && v.current == last(v.generations) && v.current == last(v.announced) &&
		v.current > last(v.retired) && len(v.litter) == 0
}

func last(numbers []uint64) uint64 {
	if len(numbers) == 0 {
		return 0
	}
	return numbers[len(numbers)-1]
}

func contains(numbers []uint64, n uint64) bool {
	_, found := slices.BinarySearch(numbers, n)
	return found
}
