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
	"openshell-vm/share/blanks"
)

const (
	reserveMost = 64 << 20  // bytes to set aside at most; on a small file system less
	roomLittle  = 256 << 20 // if fewer bytes are free, that is little; on a small file system less
	reservePart = 16        // both are at most this part of the file system
)

// Room is one file system that shares lie on, and what is set aside there. It is safe for
// concurrent use.
type Room struct {
	Dir     string // the state or the runtime directory
	Reserve *blanks.Reserve
	device  uint64

	mu      sync.Mutex
	problem string // why nothing can be set aside
	wanted  int    // publishes to set aside room for
}

// Rooms returns the file systems of the state and the runtime directory, each once. The state
// directory's is the first.
func (h *Home) Rooms() []*Room { return h.rooms }

// findRooms opens the reserves.
func (h *Home) findRooms() error {
	h.rooms = nil
	for _, dir := range []string{h.State, h.Runtime} {
		device := deviceOf(dir)
		if len(h.rooms) > 0 && device == h.rooms[0].device {
			continue
		}
		reserve, err := blanks.Open(filepath.Join(dir, ReserveDir))
		if err != nil {
			return fmt.Errorf("open the reserve: %w", err)
		}
		h.rooms = append(h.rooms, &Room{Dir: dir, device: device, Reserve: reserve})
	}
	return nil
}

// deviceOf returns the device number of path's file system; 0 if not known.
func deviceOf(dir string) uint64 {
	id, err := InodeOf(dir)
	if err != nil {
		return 0
	}
	return id.Device
}

// RoomOf returns the room of a directory, which need not exist yet; nil if it is on another
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

// ReserveOf returns the reserve on path's file system; nil if there is none.
func (h *Home) ReserveOf(path string) *blanks.Reserve {
	if r := h.RoomOf(filepath.Dir(path)); r != nil {
		return r.Reserve
	}
	return nil
}

// Keep sets room aside for that many publishes, or fewer on a small file system. problem says
// why nothing can be set aside here, and changed whether that is news. A full disk is no
// problem in that sense.
func (r *Room) Keep(wanted int) (problem string, changed bool) {
	all := r.Space().All
	wanted = min(wanted, int(min(reserveMost, all/reservePart)/blanks.Size))
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

// Again replaces what was used of the reserve.
func (r *Room) Again() {
	r.mu.Lock()
	wanted := r.wanted
	r.mu.Unlock()
	if r.Reserve.Len() < wanted {
		_ = r.Reserve.Keep(wanted) // the next Keep reports an error
	}
}

// Space is a file system's space, in bytes.
type Space struct{ Free, All int64 }

// Space returns the file system's space now; All is 0 if not known.
func (r *Room) Space() Space {
	var st unix.Statfs_t
	if unix.Statfs(r.Dir, &st) != nil {
		return Space{}
	}
	return Space{int64(st.Bavail) * st.Bsize, int64(st.Blocks) * st.Bsize}
}

// Little reports whether so little room is free that somebody should make some.
func (s Space) Little() bool { return s.Free < min(roomLittle, s.All/reservePart) }

// Wanted returns for how many publishes room is to be set aside. problem says in one line why
// none can be.
func (r *Room) Wanted() (publishes int, problem string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.wanted, r.problem
}

// replace is replaceFile. On a full disk it takes room from the reserve, but only for a file
// that exists already: a full disk refuses new records.
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
