// Package capture is where tests collect what something writes while it still
// runs.
package capture

import (
	"bytes"
	"strings"
	"sync"
	"time"
)

// A Buffer keeps what is written to it, for several goroutines at once. Its
// zero value is empty and ready. It must not be copied once in use.
type Buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write is io.Writer's; it never fails.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// String is what was written so far.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// Await waits until text is in what was written, for no longer than limit, and
// says whether it came.
func (b *Buffer) Await(text string, limit time.Duration) bool {
	for deadline := time.Now().Add(limit); !strings.Contains(b.String(), text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}
