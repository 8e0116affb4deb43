// Package sharing is the conformance suite's case of shares that several sandboxes see.
package sharing

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest/fixture"
	"openshell-vm/drivers/driverstest/trees"
)

// Where the boxes of the case see their shares.
const (
	movedTo   = "/home/agent/.ssh"
	sharedAt  = "/etc/openshell/shares/team"
	sharedToo = "/srv/other"
)

// Case: one box sees its own share somewhere else, and two shares beside it, of which another
// box sees one, too. Each of them sees each publish within the driver's bound, nobody can write,
// and the driver tells what is seen of each share.
func Case(t *testing.T, s *fixture.Suite) string {
	team, other := s.Shared(t), s.Shared(t)
	first := s.Box(t, func(b *fixture.Box) {
		b.Spec.Auth = fixture.Mount(t, b.Share.AuthDir(), movedTo)
		b.Show(team, sharedAt)
		b.Show(other, sharedToo)
	})
	second := s.Box(t, func(b *fixture.Box) { b.Show(team, sharedToo) })
	_, staleness, err := first.Driver.Resolve(t.Context(), first.Spec)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		team.Publish() // so that no two of these shares have the same generation
	}
	other.Publish()
	first.Run(false).Expect("ready")
	second.Run(false).Expect("ready")
	inFirst, inSecond := newAsker(first), newAsker(second)

	if got, want := inFirst.variable(drivers.TokenFileEnv), movedTo+"/sandbox.jwt"; got != want {
		t.Errorf("%s is %q, not %q", drivers.TokenFileEnv, got, want)
	}
	inFirst.wants(movedTo, 1)
	for range 3 {
		inTeam, inOther, own := team.Publish(), other.Publish(), uint64(0)
		own, _ = first.Publish()
		time.Sleep(staleness) // what the driver promises
		inFirst.wants(sharedAt, inTeam)
		inFirst.wants(sharedToo, inOther)
		inFirst.wants(movedTo, own)
		inSecond.wants(sharedToo, inTeam)
		if !s.Apart {
			seesShare(first, team.Name, inTeam)
			seesShare(first, other.Name, inOther)
			seesShare(first, "", own)
			seesShare(second, team.Name, inTeam)
		}
	}
	seer, _ := first.Driver.(drivers.Seer)
	if n, _, err := seer.Seen(t.Context(), second.ID, other.Name); !errors.Is(err, drivers.ErrNotTold) {
		t.Errorf("of a share that it is not shown it sees %d, %v", n, err)
	}
	before := append(trees.Snapshot(t, team.Share.AuthDir()), trees.Snapshot(t, other.Share.AuthDir())...)
	out, code := first.Exec(drivers.Process{Args: []string{first.Tool, "tamper", sharedAt, movedTo, sharedToo}}, false).Rest()
	if code != 0 || len(out) < 60 {
		t.Errorf("the witness ended with %d: %q", code, out)
	}
	for _, line := range out {
		if strings.HasSuffix(line, ": DONE") && !strings.HasPrefix(line, "remount") {
			t.Errorf("%s", line)
		}
	}
	if after := append(trees.Snapshot(t, team.Share.AuthDir()), trees.Snapshot(t, other.Share.AuthDir())...); !slices.Equal(before, after) {
		t.Errorf("the shares changed:\n%q\n%q", before, after)
	}
	return fmt.Sprintf("%d attempts to write", len(out))
}

// seesShare waits until the driver tells that a box sees a generation.
func seesShare(b *fixture.Box, name string, n uint64) {
	b.T.Helper()
	seer, ok := b.Driver.(drivers.Seer)
	if !ok {
		b.T.Fatal("the driver does not tell what a sandbox sees")
	}
	for deadline := time.Now().Add(fixture.Patience); ; time.Sleep(10 * time.Millisecond) {
		got, _, err := seer.Seen(b.T.Context(), b.ID, name)
		if err == nil && got == n {
			return
		}
		if time.Now().After(deadline) || err == nil && got > n {
			b.T.Fatalf("of the share %q generation %d is told as seen, %v, not %d", name, got, err, n)
		}
	}
}

// asker reads in a box.
type asker struct {
	b       *fixture.Box
	readers map[string]*fixture.Session // by directory
}

func newAsker(b *fixture.Box) asker { return asker{b, map[string]*fixture.Session{}} }

// wants reads the token in a directory, by a program that goes on running.
func (a asker) wants(dir string, generation uint64) {
	a.b.T.Helper()
	r := a.readers[dir]
	if r == nil {
		r = a.b.Exec(drivers.Process{Args: []string{a.b.Tool, "answer", dir}}, true)
		a.readers[dir] = r
		a.b.T.Cleanup(func() { r.Stdin.Close() })
	}
	if _, err := io.WriteString(r.Stdin, "\n"); err != nil {
		a.b.T.Fatal(err)
	}
	if got, want := r.Line(), fmt.Sprintf("%d ok", generation); got != want {
		a.b.T.Errorf("%s has %q, not %q", dir, got, want)
	}
}

func (a asker) variable(name string) string {
	out, _ := a.b.Exec(drivers.Process{Args: []string{"/bin/sh", "-c", "echo $" + name}}, false).Rest()
	return strings.Join(out, " ")
}
