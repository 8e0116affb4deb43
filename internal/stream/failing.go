package stream

import (
	"context"
	"io"
)

// FailingReader reads from r, and cancels with the error if that fails. A session tells its
// other side only that an input has ended: without this, the failure of an archive's reader
// would look like the archive's end.
func FailingReader(r io.Reader, fail context.CancelCauseFunc) io.Reader { return &failing{r, fail} }

type failing struct {
	r    io.Reader
	fail context.CancelCauseFunc
}

func (f *failing) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && err != io.EOF {
		f.fail(err)
	}
	return n, err
}
