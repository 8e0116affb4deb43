package sources

import (
	"crypto/sha256"
	"slices"

	"openshell-vm/internal/vocab"
)

// mostGiven is how many contents a feed remembers that it gave: more than there are in the old
// generations that a share keeps.
const mostGiven = 256

// given are the digests of what a feed gave, the oldest first. It holds none of the contents.
type given [][sha256.Size]byte

// note adds what a feed gives.
func (g *given) note(files Files) {
	for _, data := range files {
		if digest := sha256.Sum256(data); !slices.Contains(*g, digest) {
			*g = append(*g, digest)
		}
	}
	if over := len(*g) - mostGiven; over > 0 {
		*g = slices.Delete(*g, 0, over)
	}
}

// Gave reports whether a file that a share had is an older content of the source which it
// shows under that name still: then it was renewed, and is no more than that. What a secret
// had, or another source of that name, counts as withdrawn.
//
// Of a share that has shown the same source since the gateway began, what is not known is the
// source's, too: an older gateway published it.
func (s *Sources) Gave(id, file string, data []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.IndexFunc(s.shown[id], func(spec vocab.Source) bool { return Of(spec.Name, file) })
	if at < 0 {
		return false
	}
	spec := s.shown[id][at]
	if slices.ContainsFunc(s.inherited[id], func(i vocab.Source) bool { return same(i, spec) }) {
		return true
	}
	f := s.feeds[keyOf(spec)]
	return f != nil && slices.Contains(f.given, sha256.Sum256(data))
}

// inherit keeps of what a share showed when the gateway began only what it shows still. The
// caller holds s.mu.
func (s *Sources) inherit(id string, list []vocab.Source) {
	if !s.running {
		s.inherited[id] = list
		return
	}
	left := slices.DeleteFunc(slices.Clone(s.inherited[id]), func(i vocab.Source) bool {
		return !slices.ContainsFunc(list, func(spec vocab.Source) bool { return same(i, spec) })
	})
	if len(left) > 0 {
		s.inherited[id] = left
		return
	}
	delete(s.inherited, id)
}
