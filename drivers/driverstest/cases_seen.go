package driverstest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest/fixture"
)

// seenEnv asks for more tries: OPENSHELL_TEST_SEEN=1000. A guest tells within a second or so, which
// is too long for many.
const (
	seenEnv   = "OPENSHELL_TEST_SEEN"
	seenTries = 20
	seenTime  = 6 * time.Second // in which a guest tells at least a third of them
)

// seen: once the driver says that a generation is seen, a reader inside gets it at that very moment,
// every time. What is not running sees nothing. If a guest's file server stands still, nobody is
// told that the guest has seen what it has not.
func seen(t *testing.T, s *fixture.Suite) string {
	b := s.Box(t, nil)
	seer, ok := b.Driver.(drivers.Seer)
	if !ok {
		t.Fatal("the driver does not tell what a sandbox sees")
	}
	if n, _, err := seer.Seen(t.Context(), b.ID, ""); !errors.Is(err, drivers.ErrNotRunning) {
		t.Errorf("before the start it sees %d, %v", n, err)
	}
	b.Run(false).Expect("ready")
	if s.Apart {
		b.Publish()
		if n, _, err := seer.Seen(t.Context(), b.ID, ""); n != 0 || !errors.Is(err, drivers.ErrNotTold) {
			t.Errorf("who may not look is told that it sees %d, %v", n, err)
		}
		return "it is told that it can't be known"
	}
	reader := b.Exec(drivers.Process{Args: []string{b.Tool, "answer", drivers.AuthDir}}, true)
	ask := func() string {
		if _, err := io.WriteString(reader.Stdin, "\n"); err != nil {
			t.Fatal(err)
		}
		return reader.Line()
	}
	tries, _ := strconv.Atoi(os.Getenv(seenEnv))
	all, begin := max(tries, seenTries), time.Now()
	var took []time.Duration
	early := 0
	for i := range all {
		if tries == 0 && i >= seenTries/3 && time.Since(begin) > seenTime {
			break
		}
		n, _ := b.Publish()
		took = append(took, awaitSeen(b, seer, n))
		if got := ask(); got != fmt.Sprintf("%d ok", n) {
			early++
			t.Errorf("generation %d is told as seen, and %q is read", n, got)
		}
	}
	notSeen(b, seer)
	reader.Stdin.Close()
	reader.Rest()
	b.Stop(0)
	if n, _, err := seer.Seen(t.Context(), b.ID, ""); !errors.Is(err, drivers.ErrNotRunning) {
		t.Errorf("after its end it sees %d, %v", n, err)
	}
	slices.Sort(took)
	return fmt.Sprintf("%d tries, %d too early; publish to seen: p50 %.1f ms, p99 %.1f ms, max %.1f ms", len(took), early,
		ms(took[len(took)/2]), ms(took[(len(took)-1)*99/100]), ms(took[len(took)-1]))
}

// awaitSeen returns how long it took until the driver said that generation n is seen.
func awaitSeen(b *fixture.Box, seer drivers.Seer, n uint64) time.Duration {
	b.T.Helper()
	begin := time.Now()
	for {
		got, at, err := seer.Seen(b.T.Context(), b.ID, "")
		if got == n && err == nil {
			if at.Before(begin.Add(-time.Second)) || at.After(time.Now()) {
				b.T.Errorf("generation %d was published at %v and seen at %v", n, begin, at)
			}
			return time.Since(begin)
		}
		if err != nil && !errors.Is(err, drivers.ErrUnseen) || got > n || time.Since(begin) > fixture.Patience {
			b.T.Fatalf("%v after generation %d was published, %d is seen: %v", time.Since(begin), n, got, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// notSeen stops the file server of a guest's shares. The guest can see nothing of what is published
// then, so nothing is told as seen until the server goes on.
func notSeen(b *fixture.Box, seer drivers.Seer) {
	b.T.Helper()
	if !b.Suite.Guest {
		return // what is in the way of a bind mount is in everybody's
	}
	server := processes(b)["virtiofsd-shares"]
	if server == 0 {
		return // the hypervisor itself serves the shares
	}
	if err := syscall.Kill(server, syscall.SIGSTOP); err != nil {
		b.T.Fatal(err)
	}
	n, _ := b.Publish()
	time.Sleep(2 * time.Second) // longer than any honest guest's word takes
	if got, _, err := seer.Seen(b.T.Context(), b.ID, ""); got >= n {
		b.T.Errorf("its file server stands still, and generation %d is told as seen, %v", got, err)
	}
	if err := syscall.Kill(server, syscall.SIGCONT); err != nil {
		b.T.Fatal(err)
	}
	awaitSeen(b, seer, n)
}
