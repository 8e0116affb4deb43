// Package reserve keeps space for renewals on the disks with shares, and reports where
// space is short.
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
	"openshell-vm/share/blanks"
)

// Anything may fill a disk with shares: a container, a log, a download. Renewals then use
// space that was set aside before. It is meant for ten minutes of renewals, at least two of
// each share; package state caps its size. Space that pruned generations free meanwhile is
// set aside again, unless something else takes it first. A VM's monitor stops the VM's
// writes in time.
const (
	reserveTime  = 10 * time.Minute
	reserveLeast = 2 // publishes of each share, whatever its lifetime
	reserveEvery = 2 * time.Second
)

// Reserves keeps the reserves on all disks with shares of one home. Its methods are safe
// for concurrent use.
type Reserves struct {
	home   *state.Home
	leases *lease.Keeper
	log    *slog.Logger
}

// New makes the reserves of a home, sized for the keeper's leases.
func New(home *state.Home, leases *lease.Keeper, log *slog.Logger) *Reserves {
	return &Reserves{home: home, leases: leases, log: log}
}

// Run calls Refill at once and then every two seconds, until ctx ends.
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

// Refill sets aside as much space as the shares need now.
func (r *Reserves) Refill() {
	wanted := map[string]int{} // by parent directory: RoomOf is called once for each
	r.leases.EachKept(func(shareDir string, ttl time.Duration, blanks int) {
		wanted[filepath.Dir(shareDir)] += publishes(ttl) * blanks
	})
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

// publishes returns for how many publishes of one share space is set aside: as many as
// there can be in reserveTime.
func publishes(ttl time.Duration) int {
	every := ttl * 45 / 100 // the earliest renewal
	return max(reserveLeast, int((reserveTime+every-1)/every))
}

// Short returns a line for users for each disk that is almost full.
func (r *Reserves) Short() (lines []string) {
	for _, room := range r.home.Rooms() {
		wanted, _ := room.Wanted()
		if s := room.Space(); wanted > 0 && s.Little() {
			lines = append(lines, fmt.Sprintf("only %s are free on the disk of %s: when it is full, up to %d more renewals fit, "+
				"and VMs that write are frozen; make room",
				units.BytesSize(float64(s.Free)), room.Dir, room.Reserve.Len()))
		}
	}
	return lines
}

// Facts returns doctor's lines on the disks.
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
		line := fmt.Sprintf("up to %d renewals (%s) are set aside there for when it is full", n,
			units.BytesSize(float64(n*blanks.Size)))
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

// Layers returns doctor's line on whether an engine's containers can fill a disk with
// tokens.
func (r *Reserves) Layers(info drivers.Info) []drivers.Fact {
	if _, err := os.Stat(info.DataRoot); err != nil { // the engine names no directory, or one that is not on this host
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
