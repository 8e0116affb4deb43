package state

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"openshell-vm/internal/atomicfile"
	"openshell-vm/internal/text"
	"openshell-vm/share"
)

const (
	reserveMost = 64 << 20  // bytes: this, or a small file system's part
	roomLittle  = 256 << 20 // free bytes: this, or a small file system's part
	reservePart = 16
)

// Room is one file system that shares lie on, and what is set aside there for when it
// is full. It is safe for concurrent use.
type Room struct {
	Dir     string // where it is: the state or the runtime directory
	Reserve *share.Reserve
	device  uint64

	mu      sync.Mutex
	problem string // why nothing can be set aside
	wanted  int    // publishes
}

// Rooms are the file systems of the state and the runtime directory, each once; the
// state directory's is the first.
func (h *Home) Rooms() []*Room { return h.rooms }

// findRooms opens the reserves.
func (h *Home) findRooms() error {
	h.rooms = nil
	for _, dir := range []string{h.State, h.Runtime} {
		device := deviceOf(dir)
		if len(h.rooms) > 0 && device == h.rooms[0].device {
			continue
		}
		reserve, err := share.OpenReserve(filepath.Join(dir, ReserveDir))
		if err != nil {
			return fmt.Errorf("open the reserve: %w", err)
		}
		h.rooms = append(h.rooms, &Room{Dir: dir, device: device, Reserve: reserve})
	}
	return nil
}

// deviceOf tells file systems apart; 0 if it can't.
func deviceOf(dir string) uint64 {
	id, err := InodeOf(dir)
	if err != nil {
		return 0
	}
	return id.Device
}

// RoomOf is the room of what lies in a directory, or will; nil if it is on another
// file system.
func (h *Home) RoomOf(dir string) *Room {
	device := deviceOf(dir)
	for device == 0 && dir != "/" { // not made yet
		dir = filepath.Dir(dir)
		device = deviceOf(dir)
	}
	for _, r := range h.rooms {
		if r.device == device {
			return r
		}
	}
	return nil
}

// ReserveOf is what is set aside on the file system that path lies on; nil if nothing is.
func (h *Home) ReserveOf(path string) *share.Reserve {
	if r := h.RoomOf(filepath.Dir(path)); r != nil {
		return r.Reserve
	}
	return nil
}

// Keep sets so many publishes aside, as far as the file system's size allows it.
func (r *Room) Keep(wanted int) (problem string, changed bool) {
	all := r.Space().All
	wanted = min(wanted, int(min(reserveMost, all/reservePart)/share.BlankSize))
	err := r.Reserve.Keep(wanted)
	if err != nil && !share.IsFull(err) {
		problem = text.Line(err.Error())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	changed = r.problem != problem
	r.problem, r.wanted = problem, wanted
	return problem, changed
}

// Again sets aside what was used.
func (r *Room) Again() {
	r.mu.Lock()
	wanted := r.wanted
	r.mu.Unlock()
	if r.Reserve.Len() < wanted {
		_ = r.Reserve.Keep(wanted) // the next refill tells
	}
}

// Space is what a file system has, in bytes.
type Space struct{ Free, All int64 }

// Space looks at it now; all is 0 if it can't.
func (r *Room) Space() Space {
	var st unix.Statfs_t
	if unix.Statfs(r.Dir, &st) != nil {
		return Space{}
	}
	return Space{int64(st.Bavail) * st.Bsize, int64(st.Blocks) * st.Bsize}
}

// Little says that there is so little room that somebody should make some.
func (s Space) Little() bool { return s.Free < min(roomLittle, s.All/reservePart) }

// Wanted is how many publishes are to be set aside, and why none can be: one line.
func (r *Room) Wanted() (publishes int, problem string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.wanted, r.problem
}

// replace is replaceFile for a record that is there already: where the disk is full,
// in room that is set aside. New records are refused by a full disk.
func (h *Home) replace(path string, data []byte) error {
	err := replaceFile(path, data)
	if !share.IsFull(err) {
		return err
	}
	reserve := h.ReserveOf(path)
	if _, lost := os.Lstat(path); reserve == nil || lost != nil {
		return err
	}
	file, reserved := reserve.File(path+NewSuffix, len(data))
	if reserved != nil {
		return err
	}
	pending := atomicfile.Adopt(file)
	defer pending.Discard()
	if _, err := pending.Write(data); err != nil {
		return err
	}
	return pending.Commit(path, atomicfile.Durable)
}
