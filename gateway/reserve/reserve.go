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

// Keeper keeps the reserves of a home.
type Keeper struct {
	home   *state.Home
	leases *lease.Keeper
	log    *slog.Logger
}

// New makes the keeper of a home's reserves, for these leases.
func New(home *state.Home, leases *lease.Keeper, log *slog.Logger) *Keeper {
	return &Keeper{home: home, leases: leases, log: log}
}

// Run sets room aside, and again after it was used, until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	ticker := time.NewTicker(reserveEvery)
	defer ticker.Stop()
	for {
		k.Refill()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Refill sets aside what the shares need now.
func (k *Keeper) Refill() {
	wanted := map[string]int{} // by directory, of which there are few
	k.leases.EachKept(func(shareDir string, ttl time.Duration) { wanted[filepath.Dir(shareDir)] += publishes(ttl) })
	sum := map[*state.Room]int{}
	for dir, n := range wanted {
		sum[k.home.RoomOf(dir)] += n
	}
	for _, r := range k.home.Rooms() {
		if problem, changed := r.Keep(sum[r]); changed && problem != "" {
			k.log.Warn("no room can be set aside for renewals", "dir", r.Dir, "error", problem)
		}
	}
}

// publishes is how many of a share are set aside: what reserveTime takes.
func publishes(ttl time.Duration) int {
	every := ttl * 45 / 100 // the earliest renewal
	return max(reserveLeast, int((reserveTime+every-1)/every))
}

// Short tells in plain words where there is little room, and what becomes of it.
func (k *Keeper) Short() (lines []string) {
	for _, r := range k.home.Rooms() {
		wanted, _ := r.Wanted()
		if s := r.Space(); wanted > 0 && s.Little() {
			lines = append(lines, fmt.Sprintf("only %s are free on the disk of %s: when it is full, %d more renewals fit, "+
				"and VMs that write are frozen; make room",
				units.BytesSize(float64(s.Free)), r.Dir, r.Reserve.Len()))
		}
	}
	return lines
}

// Facts are doctor's lines.
func (k *Keeper) Facts() (facts []api.Fact) {
	for _, r := range k.home.Rooms() {
		if r != k.home.RoomOf(k.home.Shares) && r != k.home.Rooms()[0] {
			continue
		}
		s := r.Space()
		facts = append(facts, api.Fact{Name: "room", Value: fmt.Sprintf("%s of %s are free on the disk of %s",
			units.BytesSize(float64(s.Free)), units.BytesSize(float64(s.All)), r.Dir)})
		wanted, problem := r.Wanted()
		n := r.Reserve.Len()
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
	for _, line := range k.Short() {
		facts = append(facts, api.Fact{Name: "short of room", Value: line})
	}
	return facts
}

// Layers says of an engine what its containers can fill.
func (k *Keeper) Layers(info drivers.Info) []drivers.Fact {
	if _, err := os.Stat(info.DataRoot); err != nil { // it tells none, or one that is not of this host
		return nil
	}
	for _, r := range k.home.Rooms() {
		if r == k.home.RoomOf(info.DataRoot) {
			return []drivers.Fact{{Name: "disk", Value: fmt.Sprintf("its layers (%s) and the tokens (%s) share a disk: "+
				"should a container fill it, renewals go on "+
				"with the room that is set aside; on disks of their own neither fills the other's", info.DataRoot, r.Dir)}}
		}
	}
	return []drivers.Fact{{Name: "disk", Value: "its layers (" + info.DataRoot + ") lie on another disk than the tokens"}}
}
