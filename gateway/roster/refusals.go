package roster

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"openshell-vm/gateway/state"
	"openshell-vm/internal/follow"
	"openshell-vm/internal/inode"
	"openshell-vm/internal/whichdir"
)

// Which directories hold nothing to follow is asked for each followed file, each time that it is
// read. They are looked for anew when a record has changed since, as it has when a sandbox is
// started, and at times, since somebody may put another directory into a one's place: with thousands
// of sandboxes and as many files each file would else be a walk through all of them.

// asksAgain is how long what was found counts, while no record changes.
const asksAgain = time.Second

// refusals are what holds nothing to follow, each with the reason.
type refusals struct {
	dirs map[inode.ID]string // files, too
	// devices are those of directories that have never answered. Nobody knows which directories
	// they are: so nothing on these devices can be told from what lies in them.
	devices map[string]string
	places  map[string]inode.ID // by the paths of dirs: while one does not answer it is what it was

	of uint64 // Roster.changes when they were put together
	at time.Time
}

// untouchable returns what sandboxes can write to, and what is the gateway's own.
func (r *Roster) untouchable() *refusals {
	of, now := r.changes.Load(), time.Now()
	if known := r.known.Load(); known != nil && known.of == of && now.Sub(known.at) < asksAgain {
		return known
	}
	no := &refusals{of: of, at: now, places: map[string]inode.ID{}}
	var dirs, whys []string
	for dir, name := range r.writables() {
		dirs, whys = append(dirs, dir), append(whys, fmt.Sprintf("it lies in %s, which sandbox %s can write to", dir, name))
	}
	for _, dir := range r.Home.Hidden() {
		dirs, whys = append(dirs, dir), append(whys, "it lies in the gateway's own directory "+dir)
	}
	before := r.known.Load()
	for i, answer := range r.asker.Ask(dirs...) {
		if answer.Hangs != "" && before != nil && before.places[dirs[i]] != (inode.ID{}) {
			answer = whichdir.Answer{ID: before.places[dirs[i]]}
		}
		if no.add(answer, whys[i]); answer.Hangs == "" && answer.Err == nil {
			no.places[dirs[i]] = answer.ID
		}
	}
	r.known.Store(no)
	return no
}

// writables returns the directories that sandboxes can write to, each with the name of one that can.
func (r *Roster) writables() map[string]string {
	list := map[string]string{}
	for _, it := range r.All() {
		record := it.Rec()
		for _, m := range writable(record.Request.Mounts, record.Request.Rootfs, record.Request.Ephemeral) {
			if m.Writable {
				list[r.source(m)] = record.Name
			}
		}
	}
	return list
}

// changed notes that there is a record more or less, or that one has changed in what its sandbox can
// write to. It is called when others can see that already.
func (r *Roster) changed() { r.changes.Add(1) }

// writesElse reports whether a record's change may matter to what its sandbox can write to: that is
// said anew at each start, too, since the directories may be others then.
func writesElse(before, after *state.Record) bool {
	b, a := before.Request, after.Request
	return before.Name != after.Name || before.Desired != after.Desired ||
		b.Rootfs != a.Rootfs || b.Ephemeral != a.Ephemeral || !slices.Equal(b.Mounts, a.Mounts)
}

// add adds what is known of a directory. Of what is not there nothing has to be refused.
func (no *refusals) add(answer whichdir.Answer, why string) {
	switch {
	case answer.Hangs != "":
		if no.devices == nil {
			no.devices = map[string]string{}
		}
		no.devices[answer.Hangs] = why + ", and its file system does not answer"
	case answer.Err == nil:
		if no.dirs == nil {
			no.dirs = map[inode.ID]string{}
		}
		no.dirs[answer.ID] = why
	}
}

// judge refuses a path that leads through one of these directories, by their identity: a bind
// mount or a symbolic link changes nothing.
func (no *refusals) judge(path string) error {
	if why := no.devices[whichdir.Unknown]; why != "" {
		return errors.New("perhaps " + why)
	}
	locations, _ := follow.Locations(path) // a loop leads nowhere
	for _, location := range locations {
		for dir := location; ; dir = filepath.Dir(dir) {
			if id, err := inode.Of(dir); err == nil {
				if why := no.dirs[id]; why != "" {
					return errors.New(why)
				}
				if len(no.devices) > 0 && no.devices[whichdir.Device(id)] != "" {
					return errors.New("perhaps " + no.devices[whichdir.Device(id)])
				}
			}
			if dir == "/" {
				break
			}
		}
	}
	return nil
}
