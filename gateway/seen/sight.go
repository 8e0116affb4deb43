package seen

import (
	"slices"
	"strings"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/roster"
	"openshell-vm/gateway/sandbox"
	"openshell-vm/gateway/shares"
)

// sight is a sandbox, and a share that it sees: nil for its own.
type sight struct {
	box   *sandbox.Sandbox
	share *shares.Share
}

func (s sight) key() string {
	if s.share == nil {
		return s.box.ID
	}
	return s.box.ID + "/" + s.share.ID
}

// name is what a driver calls the share.
func (s sight) name() string {
	if s.share == nil {
		return ""
	}
	return s.share.Rec().Name
}

// details are those of an event.
func (s sight) details(more ...string) []string {
	if s.share != nil {
		more = append(more, "share", s.name())
	}
	return more
}

// published is the generation that the share holds, as far as it is known.
func (s sight) published() uint64 {
	l := s.box.Lease
	if s.share != nil {
		l = s.share.Lease
	}
	token, _ := l.Renewal()
	return token.Generation
}

// sights returns what a sandbox sees: its own share first, then those that it is shown.
func (w *Watch) sights(box *sandbox.Sandbox) []sight {
	all := []sight{{box: box}}
	for _, s := range box.Rec().Request.Shares {
		if it := w.roster.ByName(s.Name); it != nil {
			if own, ok := it.Owner.(*shares.Share); ok {
				all = append(all, sight{box, own})
			}
		}
	}
	return all
}

// showing returns the sandboxes that see a share of the user's own.
func (w *Watch) showing(own *shares.Share) (all []*sandbox.Sandbox) {
	name := own.Rec().Name
	for _, box := range roster.Of[*sandbox.Sandbox](w.roster) {
		if shares.Shows(box.Rec(), name) {
			all = append(all, box)
		}
	}
	return all
}

// ClockStepped is called after the host's clock was set.
func (w *Watch) ClockStepped() { w.looks.Recheck() }

// sight finds what a key means; ok is false if there is no such thing any more.
func (w *Watch) sight(key string) (s sight, ok bool) {
	id, shareID, further := strings.Cut(key, "/")
	if it := w.roster.ByID(id); it != nil {
		s.box, _ = it.Owner.(*sandbox.Sandbox)
	}
	if s.box == nil || !further {
		return s, s.box != nil
	}
	if it := w.roster.ByID(shareID); it != nil {
		s.share, _ = it.Owner.(*shares.Share)
	}
	return s, s.share != nil && shares.Shows(s.box.Rec(), s.name())
}

// Shares returns the shares of the user's own that a sandbox sees, and what is known of that
// while it runs.
func (w *Watch) Shares(box *sandbox.Sandbox) (all []api.SeenShare) {
	running := box.Snapshot().State == api.StateRunning
	sights := w.sights(box)[1:]
	for _, shown := range box.Rec().Request.Shares {
		one := api.SeenShare{ShownShare: shown}
		i := slices.IndexFunc(sights, func(s sight) bool { return s.name() == shown.Name })
		if i >= 0 {
			one.Generation = sights[i].published()
		}
		if i >= 0 && running {
			var t api.Token
			w.of(sights[i].key()).Shown(&t)
			one.SeenGeneration, one.Seen = t.SeenGeneration, t.Seen
		}
		all = append(all, one)
	}
	return all
}
