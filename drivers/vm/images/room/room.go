// Package room keeps some of the cache's disk free. What is fetched, copied or unpacked is
// hostile, so each says how much it writes.
package room

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const (
	// Min is what stays free on the disk of the cache, in bytes.
	Min = 1 << 30
	// Every is how often the free room is looked at, in bytes that were written.
	Every = 64 << 20
)

// ErrNone is in the chain of an error for a disk that has too little room.
var ErrNone = errors.New("the disk of the cache has too little room")

// Free returns how much is free where the file lies, in bytes.
func Free(f *os.File) (uint64, error) {
	var st unix.Statfs_t
	err := unix.Fstatfs(int(f.Fd()), &st)
	return st.Bavail * uint64(st.Bsize), err
}

// Guard watches what is written to one file. It is not safe for concurrent use.
type Guard struct {
	// Free says how much is free, in bytes.
	Free    func() (uint64, error)
	written int64
}

// Need fails if less than Min would be free after so many bytes more.
func (g *Guard) Need(bytes int64) error {
	free, err := g.Free()
	if err == nil && (free < Min || free-Min < uint64(bytes)) {
		return fmt.Errorf("%w: less than %d MiB would be left", ErrNone, Min>>20)
	}
	return err
}

// Wrote notes that so many bytes were written, and looks at the free room from time to time.
func (g *Guard) Wrote(bytes int) error {
	if g.written += int64(bytes); g.written < Every {
		return nil
	}
	g.written = 0
	return g.Need(0)
}
