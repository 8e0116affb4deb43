package container

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"

	"openshell-vm/drivers"
)

// Movable is an Engine that may be found at one of several places.
type Movable interface {
	Place() Place
	// Stay names the engine to take where nothing else names one; "" for any.
	Stay(host string)
}

func (d *Driver) Place() (address, note string) {
	movable, ok := d.engine.(Movable)
	if !ok {
		return "", ""
	}
	p := movable.Place()
	if p.Absent != "" {
		note = fmt.Sprintf("%s at %s is taken, for nothing listens at %s; its sandboxes keep this gateway there", p.Engine, p.Host, p.Absent)
	}
	return p.Host, note
}

func (d *Driver) KeepPlace(id, address string) {
	movable, ok := d.engine.(Movable)
	if !ok {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	before := d.places[id]
	if before == address {
		return
	}
	d.places[id] = address
	d.inPlace[before]--
	d.inPlace[address]++
	if address == "" {
		delete(d.places, id)
	}
	delete(d.inPlace, "")
	most := ""
	for _, p := range slices.Sorted(maps.Keys(d.inPlace)) { // a few, however many sandboxes there are
		if d.inPlace[p] > d.inPlace[most] {
			most = p
		}
	}
	movable.Stay(most)
}

// abandoned says that the sandbox was in an engine of another place, whose socket
// is gone: whoever removes the sandbox can't wait for that engine.
func (d *Driver) abandoned(id string) bool {
	asked, _ := d.Place()
	d.mu.Lock()
	kept := Place{Host: d.places[id]}
	d.mu.Unlock()
	if kept.Socket() == "" || asked == "" || kept.Host == asked {
		return false
	}
	_, err := os.Lstat(kept.Socket())
	return errors.Is(err, fs.ErrNotExist)
}

// notFound is drivers.ErrNotFound, unless the sandbox is in another engine than
// the one that was asked.
func (d *Driver) notFound(id string) error {
	asked, _ := d.Place()
	d.mu.Lock()
	kept := d.places[id]
	d.mu.Unlock()
	if kept == "" || asked == "" || kept == asked {
		return drivers.ErrNotFound
	}
	return &drivers.Error{Op: "look for the container", Err: fmt.Errorf("it is in %s at %s, and %s is asked", d.Name(), kept, asked),
		Hint: "let " + d.Name() + "'s variable or context name " + kept + ", then openshell-vm gateway restart"}
}
