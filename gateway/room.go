package gateway

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/docker/go-units"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
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
			wanted[filepath.Dir(s.share.Dir())] += publishes(s.rec().TTL())
		}
	}
	sum := map[*state.Room]int{}
	for dir, n := range wanted {
		sum[g.home.RoomOf(dir)] += n
	}
	for _, r := range g.home.Rooms() {
		if problem, changed := r.Keep(sum[r]); changed && problem != "" {
			g.log.Warn("no room can be set aside for renewals", "dir", r.Dir, "error", problem)
		}
	}
}

// publishes is how many of a share are set aside: what reserveTime takes.
func publishes(ttl time.Duration) int {
	every := ttl * 45 / 100 // the earliest renewal
	return max(reserveLeast, int((reserveTime+every-1)/every))
}

// short tells in plain words where there is little room, and what becomes of it.
func (g *Gateway) short() (lines []string) {
	for _, r := range g.home.Rooms() {
		wanted, _ := r.Wanted()
		if s := r.Space(); wanted > 0 && s.Little() {
			lines = append(lines, fmt.Sprintf("only %s are free on the disk of %s: when it is full, %d more renewals fit, and VMs that write are frozen; make room",
				units.BytesSize(float64(s.Free)), r.Dir, r.Reserve.Len()))
		}
	}
	return lines
}

// roomFacts are doctor's lines.
func (g *Gateway) roomFacts() (facts []api.Fact) {
	for _, r := range g.home.Rooms() {
		if r != g.home.RoomOf(g.home.Shares) && r != g.home.Rooms()[0] {
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
	for _, line := range g.short() {
		facts = append(facts, api.Fact{Name: "short of room", Value: line})
	}
	return facts
}

// layers says of an engine what its containers can fill.
func (g *Gateway) layers(info drivers.Info) []drivers.Fact {
	if _, err := os.Stat(info.DataRoot); err != nil { // it tells none, or one that is not of this host
		return nil
	}
	for _, r := range g.home.Rooms() {
		if r == g.home.RoomOf(info.DataRoot) {
			return []drivers.Fact{{Name: "disk", Value: fmt.Sprintf("its layers (%s) and the tokens (%s) share a disk: should a container fill it, renewals go on "+
				"with the room that is set aside; on disks of their own neither fills the other's", info.DataRoot, r.Dir)}}
		}
	}
	return []drivers.Fact{{Name: "disk", Value: "its layers (" + info.DataRoot + ") lie on another disk than the tokens"}}
}
