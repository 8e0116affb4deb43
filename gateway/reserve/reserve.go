// Package reserve keeps room for renewals on the disks with shares, and tells where there is
// little.
package reserve

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/docker/go-units"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/lease"
	"openshell-vm/gateway/state"
	"openshell-vm/share"
)

// Whoever shares a disk with the shares can fill it: a container, a log, a download.
// Renewals go on all the same, with room that is set aside while there is some:
// each share can be published a few times, for ten minutes at least. What renewals
// supersede meanwhile is set aside again, if the filler is not quicker. A guest's writes
// are stopped in time by its monitor.
const (
	reserveTime  = 10 * time.Minute
	reserveLeast = 2 // publishes of each share
	reserveEvery = 2 * time.Second
)

// Reserves are those of a home.
type Reserves struct {
	home   *state.Home
	leases *lease.Keeper
	log    *slog.Logger
}

// New makes the reserves of a home, for these leases.
func New(home *state.Home, leases *lease.Keeper, log *slog.Logger) *Reserves {
	return &Reserves{home: home, leases: leases, log: log}
}

// Run sets room aside, and again after it was used, until ctx ends.
func (r *Reserves) Run(ctx context.Context) {
	ticker := time.NewTicker(reserveEvery)
	defer ticker.Stop()
	for {
		r.Refill()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Refill sets aside what the shares need now.
func (r *Reserves) Refill() {
	wanted := map[string]int{} // by directory, of which there are few
	r.leases.EachKept(func(shareDir string, ttl time.Duration) { wanted[filepath.Dir(shareDir)] += publishes(ttl) })
	sum := map[*state.Room]int{}
	for dir, n := range wanted {
		sum[r.home.RoomOf(dir)] += n
	}
	for _, room := range r.home.Rooms() {
		if problem, changed := room.Keep(sum[room]); changed && problem != "" {
			r.log.Warn("no room can be set aside for renewals", "dir", room.Dir, "error", problem)
		}
	}
}

// publishes is how many of a share are set aside: what reserveTime takes.
func publishes(ttl time.Duration) int {
	every := ttl * 45 / 100 // the earliest renewal
	return max(reserveLeast, int((reserveTime+every-1)/every))
}

// Short tells in plain words where there is little room, and what becomes of it.
func (r *Reserves) Short() (lines []string) {
	for _, room := range r.home.Rooms() {
		wanted, _ := room.Wanted()
		if s := room.Space(); wanted > 0 && s.Little() {
			lines = append(lines, fmt.Sprintf("only %s are free on the disk of %s: when it is full, %d more renewals fit, "+
				"and VMs that write are frozen; make room",
				units.BytesSize(float64(s.Free)), room.Dir, room.Reserve.Len()))
		}
	}
	return lines
}

// Facts are doctor's lines.
func (r *Reserves) Facts() (facts []api.Fact) {
	for _, room := range r.home.Rooms() {
		if room != r.home.RoomOf(r.home.Shares) && room != r.home.Rooms()[0] {
			continue
		}
		s := room.Space()
		facts = append(facts, api.Fact{Name: "room", Value: fmt.Sprintf("%s of %s are free on the disk of %s",
			units.BytesSize(float64(s.Free)), units.BytesSize(float64(s.All)), room.Dir)})
		wanted, problem := room.Wanted()
		n := room.Reserve.Len()
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
	for _, line := range r.Short() {
		facts = append(facts, api.Fact{Name: "short of room", Value: line})
	}
	return facts
}

// Layers says of an engine what its containers can fill.
func (r *Reserves) Layers(info drivers.Info) []drivers.Fact {
	if _, err := os.Stat(info.DataRoot); err != nil { // it tells none, or one that is not of this host
		return nil
	}
	for _, room := range r.home.Rooms() {
		if room == r.home.RoomOf(info.DataRoot) {
			return []drivers.Fact{{Name: "disk", Value: fmt.Sprintf("its layers (%s) and the tokens (%s) share a disk: "+
				"should a container fill it, renewals go on "+
				"with the room that is set aside; on disks of their own neither fills the other's", info.DataRoot, room.Dir)}}
		}
	}
	return []drivers.Fact{{Name: "disk", Value: "its layers (" + info.DataRoot + ") lie on another disk than the tokens"}}
}
