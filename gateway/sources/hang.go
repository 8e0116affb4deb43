package sources

import (
	"context"
	"errors"
	"time"
)

const (
	// hangs is how long a source may be made until that is told: longer than commands, and questions
	// to servers, are given, and shorter than patience.
	hangs = 40 * time.Second
	// ending is how long a gateway that ends waits for what is made: longer than for the answer to a
	// refresh token.
	ending = 7 * time.Second
)

// errHangs tells of what has no deadline of its own: a path on a file system that is away.
var errHangs = errors.New("it has not ended for a while: a file system that it needs may not answer")

// made makes a feed's files. One that hangs holds up its own feed only, which tells of that, and is
// not made a second time meanwhile; and no gateway that is to end.
func (s *Sources) made(ctx context.Context, f *feed) (Files, time.Time, error) {
	type result struct {
		files   Files
		expires time.Time
		err     error
	}
	done := make(chan result, 1)
	go func() {
		files, expires, err := f.make(ctx)
		done <- result{files, expires, err}
	}()
	late := time.NewTimer(s.hangs)
	defer late.Stop()
	over, left := ctx.Done(), (<-chan time.Time)(nil)
	for {
		select {
		case r := <-done:
			return r.files, r.expires, r.err
		case <-late.C:
			s.settle(f, nil, time.Time{}, errHangs)
		case <-over:
			over, left = nil, time.After(ending)
		case <-left:
			return nil, time.Time{}, ctx.Err()
		}
	}
}
