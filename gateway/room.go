package gateway

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/docker/go-units"
	"golang.org/x/sys/unix"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/internal/atomicfile"
	"openshell-vm/share"
)

// Whoever shares a disk with the shares can fill it: a container, a log, a download.
// Renewals go on all the same, with room that is set aside while there is some:
// each share can be published a few times, for ten minutes at least. What renewals
// supersede meanwhile is set aside again, if the filler is not quicker. A guest's writes
// are stopped in time by its monitor.
const (
	reserveTime  = 10 * time.Minute
	reserveLeast = 2        // publishes of each share
	reserveMost  = 64 << 20 // bytes: this, or a small file system's part
	reservePart  = 16
	reserveEvery = 2 * time.Second

	roomLittle = 256 << 20 // free bytes: this, or a small file system's part
)

// room is one file system that shares lie on.
type room struct {
	dir     string // where it is: the state or the runtime directory
	device  uint64
	reserve *share.Reserve

	mu      sync.Mutex
	problem string // why nothing can be set aside
	wanted  int    // publishes
}

// findRooms opens the reserves.
func (h *Home) findRooms() error {
	h.rooms = nil
	for _, dir := range []string{h.State, h.Runtime} {
		device := deviceOf(dir)
		if len(h.rooms) > 0 && device == h.rooms[0].device {
			continue
		}
		reserve, err := share.OpenReserve(filepath.Join(dir, reserveDir))
		if err != nil {
			return fmt.Errorf("open the reserve: %w", err)
		}
		h.rooms = append(h.rooms, &room{dir: dir, device: device, reserve: reserve})
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

// roomOf is the room of what lies in a directory, or will; nil if it is on another
// file system.
func (h *Home) roomOf(dir string) *room {
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

func (h *Home) reserveOf(path string) *share.Reserve {
	if r := h.roomOf(filepath.Dir(path)); r != nil {
		return r.reserve
	}
	return nil
}

// keepReserves sets room aside, and again after it was used.
func (g *Gateway) keepReserves(ctx context.Context) {
	ticker := time.NewTicker(reserveEvery)
	defer ticker.Stop()
	for {
		g.refill()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// refill sets aside what the shares need now.
func (g *Gateway) refill() {
	wanted := map[string]int{} // by directory, of which there are few
	for _, s := range g.all() {
		if _, kept := s.held(); kept {
			wanted[filepath.Dir(s.share.Dir())] += publishes(s.rec().ttl())
		}
	}
	sum := map[*room]int{}
	for dir, n := range wanted {
		sum[g.home.roomOf(dir)] += n
	}
	for _, r := range g.home.rooms {
		if problem, changed := r.keep(sum[r]); changed && problem != "" {
			g.log.Warn("no room can be set aside for renewals", "dir", r.dir, "error", problem)
		}
	}
}

// publishes is how many of a share are set aside: what reserveTime takes.
func publishes(ttl time.Duration) int {
	every := ttl * 45 / 100 // the earliest renewal
	return max(reserveLeast, int((reserveTime+every-1)/every))
}

// keep sets so many publishes aside, as far as the file system's size allows it.
func (r *room) keep(wanted int) (problem string, changed bool) {
	all := r.space().all
	wanted = min(wanted, int(min(reserveMost, all/reservePart)/share.BlankSize))
	err := r.reserve.Keep(wanted)
	if err != nil && !share.IsFull(err) {
		problem = oneLine(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	changed = r.problem != problem
	r.problem, r.wanted = problem, wanted
	return problem, changed
}

// again sets aside what was used.
func (r *room) again() {
	r.mu.Lock()
	wanted := r.wanted
	r.mu.Unlock()
	if r.reserve.Len() < wanted {
		_ = r.reserve.Keep(wanted) // the next refill tells
	}
}

// space is what a file system has, in bytes.
type space struct{ free, all int64 }

func (r *room) space() space {
	var st unix.Statfs_t
	if unix.Statfs(r.dir, &st) != nil {
		return space{}
	}
	return space{int64(st.Bavail) * st.Bsize, int64(st.Blocks) * st.Bsize}
}

func (s space) little() bool { return s.free < min(roomLittle, s.all/reservePart) }

// short tells in plain words where there is little room, and what becomes of it.
func (g *Gateway) short() (lines []string) {
	for _, r := range g.home.rooms {
		r.mu.Lock()
		used := r.wanted > 0
		r.mu.Unlock()
		if s := r.space(); used && s.little() {
			lines = append(lines, fmt.Sprintf("only %s are free on the disk of %s: when it is full, %d more renewals fit, and VMs that write are frozen; make room",
				units.BytesSize(float64(s.free)), r.dir, r.reserve.Len()))
		}
	}
	return lines
}

// roomFacts are doctor's lines.
func (g *Gateway) roomFacts() (facts []api.Fact) {
	for _, r := range g.home.rooms {
		if r != g.home.roomOf(g.home.Shares) && r != g.home.rooms[0] {
			continue
		}
		s := r.space()
		facts = append(facts, api.Fact{Name: "room", Value: fmt.Sprintf("%s of %s are free on the disk of %s",
			units.BytesSize(float64(s.free)), units.BytesSize(float64(s.all)), r.dir)})
		r.mu.Lock()
		problem, wanted := r.problem, r.wanted
		r.mu.Unlock()
		n := r.reserve.Len()
		line := fmt.Sprintf("%d renewals (%s) are set aside there for when it is full", n, units.BytesSize(float64(n*share.BlankSize)))
		switch {
		case wanted == 0 && problem == "":
			line = "none needed there: no token is to be renewed"
		case problem != "":
			line = "nothing can be set aside there, so renewals fail when it is full: " + problem
		case n < wanted:
			line += fmt.Sprintf(", %d are wanted", wanted)
		}
		facts = append(facts, api.Fact{Name: "reserve", Value: line})
	}
	for _, line := range g.short() {
		facts = append(facts, api.Fact{Name: "short of room", Value: line})
	}
	return facts
}

// layers says of an engine what its containers can fill.
func (g *Gateway) layers(info drivers.Info) []drivers.Fact {
	device := deviceOf(info.DataRoot)
	if device == 0 { // it tells none, or one that is not of this host
		return nil
	}
	for _, r := range g.home.rooms {
		if device == r.device {
			return []drivers.Fact{{Name: "disk", Value: fmt.Sprintf("its layers (%s) and the tokens (%s) share a disk: should a container fill it, renewals go on "+
				"with the room that is set aside; on disks of their own neither fills the other's", info.DataRoot, r.dir)}}
		}
	}
	return []drivers.Fact{{Name: "disk", Value: "its layers (" + info.DataRoot + ") lie on another disk than the tokens"}}
}

// replace is replaceFile for a record that is there already: where the disk is full,
// in room that is set aside. New records are refused by a full disk.
func (h *Home) replace(path string, data []byte) error {
	err := replaceFile(path, data)
	if !share.IsFull(err) {
		return err
	}
	reserve := h.reserveOf(path)
	if _, lost := os.Lstat(path); reserve == nil || lost != nil {
		return err
	}
	file, reserved := reserve.File(path+newSuffix, len(data))
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
