package nat

import "sync/atomic"

// slots counts what there may be only so many of. It is safe for concurrent use.
type slots struct {
	most int64
	used atomic.Int64
}

// take takes a slot, if one is free.
func (s *slots) take() bool {
	if s.used.Add(1) > s.most {
		s.used.Add(-1)
		return false
	}
	return true
}

func (s *slots) free() { s.used.Add(-1) }
