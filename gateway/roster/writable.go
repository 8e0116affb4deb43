package roster

import "openshell-vm/internal/vocab"

// Which directories of the host sandboxes can write to is asked for each followed file, each time
// that it is read. It is put together anew only when records have changed since: with thousands
// of sandboxes and as many files every file would else be a walk through all of them.

// writables are the distinct directories and volumes that sandboxes can write to.
type writables struct {
	of   uint64 // Roster.changes when they were put together
	list map[vocab.Mount]string
}

// writables returns these mounts, without their targets, each with the name of a sandbox that
// has it.
func (r *Roster) writables() map[vocab.Mount]string {
	of := r.changes.Load()
	if known := r.known.Load(); known != nil && known.of == of {
		return known.list
	}
	list := map[vocab.Mount]string{}
	for _, it := range r.All() {
		record := it.Rec()
		for _, m := range writable(record.Request.Mounts, record.Request.Rootfs, record.Request.Ephemeral) {
			if m.Writable {
				list[vocab.Mount{Source: m.Source, Volume: m.Volume, Writable: true}] = record.Name
			}
		}
	}
	r.known.Store(&writables{of, list})
	return list
}

// changed notes that a record has changed, or that there is one more or less. It is called when
// others can see that already.
func (r *Roster) changed() { r.changes.Add(1) }
