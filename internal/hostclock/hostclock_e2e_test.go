//go:build e2e

package hostclock

import (
	"context"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestWatch sets the wall clock to the time that it shows. Watch has to notice it.
func TestWatch(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stepped, ended := make(chan struct{}, 100), make(chan error, 1)
	go func() { ended <- Watch(ctx, func() { stepped <- struct{}{} }) }()
	for deadline := time.Now().Add(30 * time.Second); ; {
		now := unix.NsecToTimeval(time.Now().UnixNano())
		if err := unix.Settimeofday(&now); err == syscall.EPERM && os.Getenv("E2E_REQUIRE") == "" {
			t.Skip("only root may set the clock")
		} else if err != nil {
			t.Fatal(err)
		}
		select { // the watch may not have begun at the first try
		case <-stepped:
			return
		case err := <-ended:
			t.Fatal(err)
		case <-time.After(100 * time.Millisecond):
			if time.Now().After(deadline) {
				t.Fatal("a set clock was not noticed")
			}
		}
	}
}
