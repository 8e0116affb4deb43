package tokens

import (
	"cmp"
	"crypto"
	"slices"
	"sync/atomic"
	"time"
)

// ring is the keys in memory. Keys of one algorithm are in the order in which they succeed
// each other. That order decides which one signs, not when they were made: a clock that is
// set back must not bring an old key back.
type ring []entry

type entry struct {
	KeyInfo
	key crypto.Signer
	// last is when the last token that this process signed with the key expires, in Unix
	// seconds. Copies of the entry share it.
	last *atomic.Int64
}

func newEntry(a Algorithm, now time.Time) (entry, error) {
	key, err := a.generate()
	if err != nil {
		return entry{}, err
	}
	kid, err := keyID(key.Public())
	if err != nil {
		return entry{}, err
	}
	return entry{KeyInfo{ID: kid, Algorithm: a, CreatedAt: now}, key, new(atomic.Int64)}, nil
}

// over reports whether every token that the key signed has expired.
func (k KeyInfo) over(now time.Time) bool {
	return !k.RetireAt.IsZero() && !now.Before(k.RetireAt)
}

func (k KeyInfo) pending(now time.Time) bool { return now.Before(k.SignsFrom) }

// signs notes that the key signs a token that lives until expires.
func (e entry) signs(expires time.Time) {
	for {
		last := e.last.Load()
		if expires.Unix() <= last || e.last.CompareAndSwap(last, expires.Unix()) {
			return
		}
	}
}

// lastExpiry returns when the last token of the key has expired. Those of earlier processes
// have by the time known.
func (e entry) lastExpiry(known time.Time) time.Time {
	if own := time.Unix(e.last.Load(), 0); own.After(known) {
		return own
	}
	return known
}

func (r ring) clone() ring { return slices.Clone(r) }

// index returns -1 if there is no such key.
func (r ring) index(kid string) int {
	return slices.IndexFunc(r, func(e entry) bool { return e.ID == kid })
}

func (r ring) find(kid string) (entry, bool) {
	if i := r.index(kid); i >= 0 {
		return r[i], true
	}
	return entry{}, false
}

// signing returns the index of the key that signs at the time now: the last one whose time
// has come. If the clock was set back to before all of them, it is the first one. It returns
// -1 if the algorithm has no key.
func (r ring) signing(a Algorithm, now time.Time) int {
	first := -1
	for i, e := range slices.Backward(r) {
		if e.Algorithm != a {
			continue
		}
		if !e.pending(now) {
			return i
		}
		first = i
	}
	return first
}

// before returns the index of the key that the i-th one succeeds; -1 for none.
func (r ring) before(i int) int {
	for j := i - 1; j >= 0; j-- {
		if r[j].Algorithm == r[i].Algorithm {
			return j
		}
	}
	return -1
}

// succeed returns a ring with a further key at its end. Pending keys that would sign after
// it are given up. The key before it retires.
func (r ring) succeed(e entry, now time.Time, longest time.Duration) ring {
	next := slices.DeleteFunc(r.clone(), func(old entry) bool {
		return old.Algorithm == e.Algorithm && old.pending(now) && !old.SignsFrom.Before(e.SignsFrom)
	})
	next = append(next, e)
	if i := next.before(len(next) - 1); i >= 0 {
		old := &next[i]
		if e.SignsFrom.IsZero() {
			old.RetireAt = old.lastExpiry(now.Add(longest))
		} else {
			old.RetireAt = e.SignsFrom.Add(max(longest, MaxTTL))
		}
	}
	return next
}

// after returns the index of the key that succeeds the i-th one; -1 for none.
func (r ring) after(i int) int {
	for j := i + 1; j < len(r); j++ {
		if r[j].Algorithm == r[i].Algorithm {
			return j
		}
	}
	return -1
}

// without returns a ring without the i-th key. The key before it is succeeded by the one
// after it, or goes on signing. If the one after it signed at once, the time of the key before
// it is known already.
func (r ring) without(i int) ring {
	next := r.clone()
	before, after := r.before(i), r.after(i)
	switch {
	case r[i].SignsFrom.IsZero() || before < 0:
	case after < 0:
		next[before].RetireAt = time.Time{}
	case !r[after].SignsFrom.IsZero():
		next[before].RetireAt = r[after].SignsFrom.Add(MaxTTL)
	}
	return slices.Delete(next, i, i+1)
}

// prune returns a ring without the keys that are over.
func (r ring) prune(now time.Time) ring {
	return slices.DeleteFunc(r.clone(), func(e entry) bool { return e.over(now) })
}

// algorithms returns those that have a key.
func (r ring) algorithms() (have []Algorithm) {
	for _, a := range algorithms {
		if r.count(a) > 0 {
			have = append(have, a)
		}
	}
	return have
}

func (r ring) count(a Algorithm) (n int) {
	for _, e := range r {
		if e.Algorithm == a {
			n++
		}
	}
	return n
}

// infos returns what is public, in List's order.
func (r ring) infos(now time.Time) []KeyInfo {
	list := make([]KeyInfo, 0, len(r))
	for i, e := range r {
		info, signing := e.KeyInfo, r.signing(e.Algorithm, now)
		switch {
		case i == signing:
			info.State = Signing
		case i > signing:
			info.State = Pending
		default:
			info.State = Verifying
		}
		list = append(list, info)
	}
	rank := map[KeyState]int{Signing: 0, Pending: 1, Verifying: 2}
	slices.SortStableFunc(list, func(a, b KeyInfo) int {
		byState := cmp.Compare(rank[a.State], rank[b.State])
		byKind := cmp.Compare(slices.Index(algorithms, a.Algorithm), slices.Index(algorithms, b.Algorithm))
		switch a.State {
		case Signing:
			return cmp.Or(byState, byKind)
		case Pending:
			return cmp.Or(byState, a.SignsFrom.Compare(b.SignsFrom), byKind)
		}
		return cmp.Or(byState, b.CreatedAt.Compare(a.CreatedAt), byKind)
	})
	return list
}
