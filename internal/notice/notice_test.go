package notice

import (
	"sync"
	"testing"
)

func TestBoard(t *testing.T) {
	var b Board[int]
	b.Tell("a", 1) // to nobody, and not kept
	first, doneFirst := b.Await("a")
	second, doneSecond := b.Await("a")
	other, doneOther := b.Await("b")
	gone, doneGone := b.Await("a")
	doneGone()
	if n, none := b.Waiting("a"), b.Waiting("c"); n != 2 || none != 0 {
		t.Errorf("%d and %d wait", n, none)
	}
	b.Tell("a", 2)
	b.Tell("a", 3) // nobody waits any more
	if <-first != 2 || <-second != 2 {
		t.Error("another notice came")
	}
	for name, c := range map[string]<-chan int{"first": first, "other": other, "gone": gone} {
		select {
		case n := <-c:
			t.Errorf("%s got %d", name, n)
		default:
		}
	}
	doneFirst()
	doneSecond()
	doneSecond() // of no effect
	doneOther()
	if len(b.waiting) != 0 {
		t.Errorf("left: %v", b.waiting)
	}
}

// TestConcurrent checks that each waiter gets the next notice while others come and go.
func TestConcurrent(t *testing.T) {
	var b Board[int]
	var all, ready sync.WaitGroup
	for range 50 {
		ready.Add(1)
		all.Go(func() {
			next, done := b.Await("a")
			defer done()
			ready.Done()
			_, gaveUp := b.Await("a")
			gaveUp()
			if <-next != 7 {
				t.Error("another notice came")
			}
		})
	}
	ready.Wait()
	b.Tell("a", 7)
	all.Wait()
}
