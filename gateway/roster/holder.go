package roster

import (
	"time"

	"openshell-vm/gateway/state"
	"openshell-vm/internal/vocab"
	"openshell-vm/tokens"
)

// holder makes an item a lease.Holder.
type holder struct{ it *Item }

func (h holder) Name() string                { return h.it.Rec().Name }
func (h holder) TTL() time.Duration          { return h.it.Rec().TTL() }
func (h holder) Tokens() vocab.Tokens        { return h.it.Tokens() }
func (h holder) Sources() []vocab.Source     { return h.it.Rec().Request.Sources }
func (h holder) Mounted() error              { return h.it.Owner.Mounted() }
func (h holder) Restore() func()             { return h.it.Owner.Restore() }
func (h holder) Delivered()                  { h.it.Owner.Delivered() }
func (h holder) AfterRestart() time.Duration { return h.it.Owner.AfterRestart() }

// Reserve raises the record's limit if the generation is above it.
func (h holder) Reserve(generation uint64) error {
	if generation <= h.it.Rec().GenerationLimit {
		return nil
	}
	return h.it.Update(func(r *state.Record) { r.GenerationLimit = generation + state.GenerationStep - 1 })
}

// Floor returns 1 for an item that is being made. Otherwise the share was lost, and any
// number up to the record's limit may have been used.
func (h holder) Floor() uint64 {
	if r := h.it.Rec(); r.Made {
		return r.GenerationLimit + 1
	}
	return 1
}

// About says what the sandbox is. What is too long for a token is left out.
func (h holder) About() tokens.About {
	r := h.it.Rec()
	about := tokens.About{Name: r.Name, Driver: r.Driver}
	if len(r.Request.Image) <= maxAbout {
		about.Image = r.Request.Image
	}
	if len(r.Request.Rootfs) <= maxAbout {
		about.RootFS = r.Request.Rootfs
	}
	return about
}
