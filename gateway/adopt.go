package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/state"
	"openshell-vm/internal/contract"
	"openshell-vm/share"
	"openshell-vm/tokens"
)

// unknownStaleness is the largest bound of any driver, for a sandbox whose own
// is not known any more.
const unknownStaleness = 6 * time.Second

// adopt takes in a sandbox that the engine has and of which the record was
// lost, as far as it can be known: what runs in it the engine knows, its token
// lifetime stands in its share. From then on it is renewed like any other.
func (g *Gateway) adopt(ctx context.Context, driver drivers.Driver, status drivers.Status) {
	if !state.IsID(status.ID) || g.byID(status.ID) != nil {
		return
	}
	if status.Spec != nil && !g.oursToMount(status.ID, status.Spec.Auth.Source()) {
		return // whatever it says, it has no share of this gateway's
	}
	if _, err := os.Stat(g.home.RecordPath(status.ID)); err == nil {
		return // there is a record that can't be read: loadAll has said so
	}
	// It may have been removed since the engine gave the list.
	bounded, cancel := context.WithTimeout(ctx, lookDeadline)
	defer cancel()
	if _, err := driver.Inspect(bounded, status.ID); err != nil {
		return
	}
	log := g.log.With("sandbox", status.ID, "driver", driver.Name())
	r := g.guess(driver, status)
	if err := g.takeIn(r, status); err != nil {
		log.Warn("a sandbox without a record can't be taken in", "error", oneLine(err))
		return
	}
	log.Info("a sandbox without a record was taken in", "name", r.Name, "ttl", r.TTL())
}

// guess makes a record of what is known.
func (g *Gateway) guess(driver drivers.Driver, status drivers.Status) *state.Record {
	r := &state.Record{Version: state.Version, ID: status.ID, Name: status.Name, Driver: driver.Name(), CreatedAt: time.Now(),
		Request: state.Request{Driver: driver.Name(), TTL: tokens.DefaultTTL}, Staleness: unknownStaleness,
		Share: filepath.Join(g.home.Shares, status.ID), Object: status.Object, Engine: keepPlace(driver, status.ID), Made: true}
	if state.CheckName(r.Name) != nil || g.named(r.Name) {
		r.Name = ""
	}
	if !status.StartedAt.IsZero() {
		r.CreatedAt = status.StartedAt
	}
	for _, place := range g.home.SharePlaces() {
		if _, err := os.Stat(filepath.Join(place, status.ID)); err == nil {
			r.Share = filepath.Join(place, status.ID)
			break
		}
	}
	if status.Spec != nil {
		remember(r, *status.Spec)
	}
	g.guessLifetime(r)
	r.Want(state.WantStopped)
	if status.State == drivers.Running {
		r.Want(state.WantRunning)
		r.Start.BootID = g.bootID
	}
	return r
}

// oursToMount says whether a mounted directory is where this gateway makes the
// sandbox's share.
func (g *Gateway) oursToMount(id, source string) bool {
	return slices.Contains(g.home.SharePlaces(), filepath.Dir(filepath.Dir(source))) && filepath.Base(filepath.Dir(source)) == id
}

// guessLifetime reads it off the last token's metadata.
func (g *Gateway) guessLifetime(r *state.Record) {
	at, err := share.At(r.Share, g.shareOptions(r))
	if err != nil {
		return
	}
	content, err := share.Read(at.AuthDir())
	if err != nil {
		return
	}
	r.GenerationLimit = content.Generation
	var m contract.Metadata
	if json.Unmarshal(content.Files[contract.MetadataName], &m) == nil {
		if ttl := m.ExpiresAt.Sub(m.IssuedAt); ttl >= tokens.MinTTL(0) {
			r.Request.TTL = ttl
		}
	}
}

// takeIn writes the record and makes the sandbox known. If its share is gone, a
// running one can't be helped before its next start, but it is shown.
func (g *Gateway) takeIn(r *state.Record, status drivers.Status) (err error) {
	if err := g.home.MakeSandboxDir(r.ID); err != nil && !os.IsExist(err) {
		return err
	}
	s := &sandbox{id: r.ID, record: r, status: status, up: r.Desired == state.WantRunning}
	if s.share, err = share.At(r.Share, g.shareOptions(r)); err != nil {
		return err
	}
	if s.up {
		r.Start.Share, _ = state.InodeOf(s.share.AuthDir()) // unknown if it is gone
	}
	if err := g.makeShare(r); err != nil {
		return err
	}
	if claims, err := g.readToken(s, time.Now()); err == nil {
		s.set(func() { s.token.Holds(claims, r.TTL()) }) // else it is renewed at once
	}
	if !s.op.tryLock() {
		return errors.New("it is busy") // nobody else knows it yet
	}
	defer g.release(s)
	if err := g.add(s); err != nil { // from here on the record is others' too
		return err
	}
	if err := g.update(s, func(*state.Record) {}); err != nil {
		g.drop(s)
		return err
	}
	return nil
}

// named says whether a name is taken.
func (g *Gateway) named(name string) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.names[name] != nil
}
