package vm

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"
)

// waitBuffer is a writer whose content a test can wait for.
type waitBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *waitBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *waitBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// await waits until text was written.
func (b *waitBuffer) await(t *testing.T, text string) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !strings.Contains(b.String(), text) {
		if time.Now().After(deadline) {
			t.Fatalf("%q was not written, but %q", text, b.String())
		}
		time.Sleep(5 * time.Millisecond)
	}
}
