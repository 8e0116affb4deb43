//go:build e2e

package programs_test

import (
	"crypto/rand"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// ledger is what a server knows of the credentials that it gave out. It is for concurrent use.
type ledger struct {
	life time.Duration // of each
	slow time.Duration // how late one may come whose client uses it to its end: for the call's way

	mu      sync.Mutex
	ends    map[string]time.Time
	order   []string       // as they were given out
	used    map[string]int // how often each was taken
	refused []string       // why
}

func newLedger(life, slow time.Duration) *ledger {
	return &ledger{life: life, slow: slow, ends: map[string]time.Time{}, used: map[string]int{}}
}

// issue gives out a credential.
func (l *ledger) issue() (credential string, ends time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	credential, ends = rand.Text(), time.Now().Add(l.life).Truncate(time.Second)
	l.ends[credential] = ends
	l.order = append(l.order, credential)
	return credential, ends
}

// take reports whether a credential is good now, and counts it.
func (l *ledger) take(credential string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	ends, known := l.ends[credential]
	switch late := time.Since(ends); {
	case !known:
		l.refused = append(l.refused, fmt.Sprintf("an unknown one of %d bytes", len(credential)))
	case late > l.slow:
		l.refused = append(l.refused, fmt.Sprintf("one that ended %v ago", late.Round(time.Millisecond)))
	default:
		l.used[credential]++
		return true
	}
	return false
}

// turned returns how many different credentials were taken so far. It fails the test if one was
// refused.
func (l *ledger) turned(t testing.TB) int {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.refused) > 0 {
		t.Fatalf("the server refused %d calls: %q", len(l.refused), l.refused)
	}
	return len(l.used)
}

// settle ends a test: it logs the counts, wants at least so many different credentials taken and
// none refused, and has a call by the first one made after its end, which has to be refused.
func (l *ledger) settle(t testing.TB, least int, call func(credential string) (status int)) {
	t.Helper()
	turned, calls := l.turned(t), 0
	l.mu.Lock()
	if turned == 0 {
		l.mu.Unlock()
		t.Fatal("no call came by a credential")
	}
	for n := range maps.Values(l.used) {
		calls += n
	}
	first := l.order[slices.IndexFunc(l.order, func(c string) bool { return l.used[c] > 0 })]
	ends := l.ends[first].Add(l.slow)
	t.Logf("%d credentials given out, %d used, %d calls, none refused", len(l.order), turned, calls)
	l.mu.Unlock()
	if turned < least {
		t.Errorf("%d different credentials were used, at least %d are wanted", turned, least)
	}
	time.Sleep(time.Until(ends) + time.Millisecond)
	if status := call(first); status != http.StatusUnauthorized && status != http.StatusForbidden {
		t.Errorf("a call by the first credential, after its end, is answered with %d", status)
	}
}
