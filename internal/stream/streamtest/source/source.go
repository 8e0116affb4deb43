// Package source makes pseudo-random bytes, and sums what arrives. It is apart from
// streamtest, so that programs in a sandbox can use it.
package source

import (
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
)

// Source is a reader of pseudo-random bytes that also sums them. It is for one goroutine.
type Source struct {
	left  int
	given atomic.Int64
	bytes *rand.ChaCha8
	sum   Sum
}

// New returns a Source of n bytes. For the same n they are the same.
func New(n int) *Source {
	return &Source{left: n, bytes: rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)})}
}

// Read fails only at the end, with io.EOF.
func (s *Source) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	p = p[:min(len(p), s.left)]
	n, err := s.bytes.Read(p)
	s.left -= n
	s.sum.Write(p[:n])
	s.given.Add(int64(n))
	return n, err
}

// Given returns how many bytes were read. It may be called while another goroutine reads.
func (s *Source) Given() int64 { return s.given.Load() }

// Sum returns the length and hash of what was read.
func (s *Source) Sum() string { return s.sum.String() }

// Sum is the length and hash of what is written to it. The zero value is ready for use. It
// is safe for concurrent use.
type Sum struct {
	mu   sync.Mutex
	n    int64
	hash [32]byte // chained, so that the zero value is ready
	rest []byte
}

// Write never fails.
func (s *Sum) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n += int64(len(p))
	s.rest = append(s.rest, p...)
	for len(s.rest) >= 4096 {
		s.hash = sha256.Sum256(append(s.hash[:], s.rest[:4096]...))
		s.rest = s.rest[4096:]
	}
	return len(p), nil
}

func (s *Sum) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprintf("%d bytes, %x", s.n, sha256.Sum256(append(s.hash[:], s.rest...)))
}
