package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/audience"
	"openshell-vm/gateway/explain"
	"openshell-vm/gateway/roster"
	"openshell-vm/gateway/state"
	"openshell-vm/internal/contract"
	"openshell-vm/share"
	"openshell-vm/share/layout"
	"openshell-vm/tokens"
)

// unknownStaleness is the largest staleness bound of any driver. It is for sandboxes whose
// own bound is not known any more.
const unknownStaleness = 6 * time.Second

// adopt takes in a sandbox that the engine has and whose record was lost. The engine knows
// what the sandbox was made with, and its share tells the token lifetime. From then on it
// is renewed like any other.
func (f *Fleet) adopt(ctx context.Context, driver drivers.Driver, status drivers.Status) {
	if !state.IsID(status.ID) || f.roster.ByID(status.ID) != nil {
		return
	}
	if status.Spec != nil && !f.oursToMount(status.ID, status.Spec.Auth.Source()) {
		return // it claims to be this gateway's, but does not mount a share of this gateway
	}
	if _, err := os.Stat(f.home.RecordPath(status.ID)); err == nil {
		return // there is a record, which could not be used when the records were loaded
	}
	// The sandbox may have been removed since the engine made the list.
	bounded, cancel := context.WithTimeout(ctx, lookDeadline)
	defer cancel()
	if _, err := driver.Inspect(bounded, status.ID); err != nil {
		return
	}
	log := f.log.With("sandbox", status.ID, "driver", driver.Name())
	r := f.guess(driver, status)
	if err := f.takeIn(r, status); err != nil {
		log.Warn("a sandbox without a record can't be taken in", "error", explain.Line(err))
		return
	}
	log.Info("a sandbox without a record was taken in", "name", r.Name, "ttl", r.TTL())
}

// guess makes a record from what the engine and the share tell.
func (f *Fleet) guess(driver drivers.Driver, status drivers.Status) *state.Record {
	r := &state.Record{Version: state.Version, ID: status.ID, Name: status.Name, Driver: driver.Name(), CreatedAt: time.Now(),
		Request: state.Request{Driver: driver.Name(), TTL: tokens.DefaultTTL}, Staleness: unknownStaleness,
		Share: filepath.Join(f.home.Shares, status.ID), Object: status.Object, Engine: keepPlace(driver, status.ID), Made: true}
	if state.CheckName(r.Name) != nil || f.roster.ByName(r.Name) != nil {
		r.Name = ""
	}
	if !status.StartedAt.IsZero() {
		r.CreatedAt = status.StartedAt
	}
	for _, place := range f.home.SharePlaces() {
		if _, err := os.Stat(filepath.Join(place, status.ID)); err == nil {
			r.Share = filepath.Join(place, status.ID)
			break
		}
	}
	if status.Spec != nil {
		remember(r, f.home, *status.Spec)
	}
	f.guessContent(r)
	r.Want(state.WantStopped)
	if status.State == drivers.Running {
		r.Want(state.WantRunning)
		r.Start.BootID = f.bootID
	}
	return r
}

// oursToMount reports whether a mounted directory is where this gateway makes the share of
// this sandbox.
func (f *Fleet) oursToMount(id, source string) bool {
	return slices.Contains(f.home.SharePlaces(), filepath.Dir(filepath.Dir(source))) && filepath.Base(filepath.Dir(source)) == id
}

// guessContent takes the token lifetime from the metadata in the share, and tells which files
// there come from what only the record knew: a source, or share put.
func (f *Fleet) guessContent(r *state.Record) {
	content, err := share.Read(filepath.Join(r.Share, layout.Auth))
	if err != nil {
		return
	}
	r.GenerationLimit = content.Generation
	known := append(audience.Names(r.Request.Tokens), contract.TokenName, contract.MetadataName)
	if put, err := f.home.Files(r.ID); err == nil { // share put keeps them beside the record
		known = slices.AppendSeq(known, maps.Keys(put))
	}
	lost := slices.Sorted(maps.Keys(content.Files))
	lost = slices.DeleteFunc(lost, func(name string) bool { return slices.Contains(known, name) })
	if len(lost) > 0 {
		r.Warnings = append(r.Warnings, roster.FilesLost(lost))
	}
	var m contract.Metadata
	if r.Request.Tokens.Mode == drivers.StaticToken {
		return // its lifetime is its user's
	}
	if json.Unmarshal(content.Files[contract.MetadataName], &m) == nil {
		if ttl := m.ExpiresAt.Sub(m.IssuedAt); ttl >= tokens.MinTTL(0) {
			r.Request.TTL = ttl
		}
	}
}

// takeIn adds the sandbox to the roster and writes its record. If the share of a running
// sandbox is gone, only its next start gives it a token again; until then the failure is
// shown.
func (f *Fleet) takeIn(r *state.Record, status drivers.Status) error {
	if err := f.home.MakeSandboxDir(r.ID); err != nil && !os.IsExist(err) {
		return err
	}
	s, err := f.sandbox(r)
	if err != nil {
		return err
	}
	s.status, s.up = status, r.Desired == state.WantRunning
	if s.up {
		r.Start.Share, _ = state.InodeOf(s.Lease.Share().AuthDir()) // unknown if it is gone
	}
	if err := f.roster.MakeShare(r); err != nil {
		return err
	}
	if err := f.opts.Shares.Suit(r.Request.Shares, r.Staleness); err != nil { // it runs already
		f.log.Warn("a share that a sandbox sees does not suit it", "sandbox", r.ID, "error", explain.Line(err))
	}
	f.roster.Keeper.TakeUp(s.Lease)
	if !s.Op.TryLock() {
		return errors.New("it is busy") // can't be: nobody else knows it yet
	}
	defer s.Release()
	if err := f.roster.Add(s.Item); err != nil { // from here on others find it
		return err
	}
	if err := s.Update(func(*state.Record) {}); err != nil {
		f.roster.Drop(s.Item)
		return err
	}
	return nil
}
