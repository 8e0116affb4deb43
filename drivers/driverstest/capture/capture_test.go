package capture

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b Buffer
		go func() {
			for i := range 3 {
				time.Sleep(time.Second)
				fmt.Fprintf(&b, "line %d\n", i)
			}
		}()
		begun := time.Now()
		if !b.Await("1\nline 2", 10*time.Second) || time.Since(begun) > 3*time.Second+10*time.Millisecond {
			t.Errorf("it took %v: %q", time.Since(begun), b.String())
		}
		if begun = time.Now(); b.Await("line 3", 2*time.Second) || time.Since(begun) < 2*time.Second {
			t.Errorf("what never came was there after %v", time.Since(begun))
		}
	})
}

// Nothing that several goroutines write is lost; -race sees the rest.
func TestSeveralWriters(t *testing.T) {
	var b Buffer
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				fmt.Fprint(&b, "x")
				_ = b.String()
			}
		})
	}
	all.Wait()
	if n := len(b.String()); n != 800 {
		t.Errorf("%d bytes, 800 are wanted", n)
	}
}
