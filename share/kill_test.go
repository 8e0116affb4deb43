package share

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"openshell-vm/share/layout"
)

// childPublish publishes files of the given names in the share at args[0] and
// kills itself when the args[1]-th step begins. It writes the numbers of the
// steps that began. With args[2] "true" the share is durable.
func childPublish(args []string) error {
	killAt, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	opts := killOptions(args[2] == "true")
	calls := 0
	opts.Step = func(n int) {
		calls++
		fmt.Println(n)
		if calls == killAt {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // until the signal has come
		}
	}
	s, err := Open(args[0], opts)
	if err != nil {
		return err
	}
	_, err = s.Publish(context.Background(), 0, provenFiles(args[3:]...))
	return err
}

// killOptions prune at once, so that a kill may hit between two removals.
func killOptions(durable bool) Options {
	return Options{Durable: durable, Grace: time.Nanosecond}
}

// TestKilledAtEveryStep kills a separate writer as each numbered step begins, in
// several situations, and has a new one repair.
func TestKilledAtEveryStep(t *testing.T) {
	for name, c := range map[string]struct {
		before [][]string // names of each publish that came before
		next   []string   // names of the one that is killed
	}{
		"first publish":  {nil, []string{"token", "meta"}},
		"renewal":        {[][]string{{"token", "meta"}}, []string{"token", "meta"}},
		"with old ones":  {[][]string{{"token"}, {"token"}, {"token"}}, []string{"token"}},
		"names change":   {[][]string{{"token", "gone"}}, []string{"token", "came"}},
		"names replaced": {[][]string{{"a", "b"}}, []string{"c"}},
		"directories":    {[][]string{{"token", "d/e", "d/f/g", "x"}}, []string{"token", "d/e", "d/f", "x/y"}},
	} {
		for _, durable := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/durable=%v", name, durable), func(t *testing.T) {
				t.Parallel()
				seen := map[int]bool{}
				for at := 1; killOnce(t, c.before, c.next, durable, at, seen); at++ {
				}
				for step := 1; step <= 15; step++ {
					if !seen[step] {
						t.Errorf("no writer was killed at step %d", step)
					}
				}
			})
		}
	}
}

// killOnce reports whether the writer was killed. If not, it has fewer steps than at and
// ended by itself.
func killOnce(t *testing.T, before [][]string, next []string, durable bool, at int, seen map[int]bool) bool {
	t.Helper()
	s := newTestShare(t, killOptions(durable))
	for _, names := range before {
		mustPublish(t, s, provenFiles(names...))
	}
	old := uint64(len(before))
	args := append([]string{s.Dir(), strconv.Itoa(at), strconv.FormatBool(durable)}, next...)
	out, err := child(t, "publish", args...).Output()
	var exit *exec.ExitError
	killed := errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
	if err != nil && !killed {
		t.Fatalf("the writer failed: %v", err)
	}
	if !killed {
		return false
	}
	steps := strings.Fields(string(out))
	step, _ := strconv.Atoi(steps[len(steps)-1])
	seen[step] = true

	committed := step > 10
	names := next
	if !committed {
		names = nil
		if old > 0 {
			names = before[old-1]
		}
	}
	was := wantOldOrNew(t, s, old, committed, names)
	if err := s.Repair(t.Context()); err != nil {
		t.Fatalf("repair after a kill at step %d: %v", step, err)
	}
	if now := wantOldOrNew(t, s, old, committed, names); now != was {
		t.Errorf("step %d: repair went from generation %d to %d", step, was, now)
	}
	wantRepaired(t, s, was, names)

	p := mustPublish(t, s, provenFiles("token"))
	if p.Generation <= was || !p.Changed {
		t.Errorf("step %d: the next publish gives %+v after %d", step, p, was)
	}
	wantFiles(t, s, File{Name: "token", Data: proven(p.Generation, "token")})
	if t.Failed() {
		t.Fatalf("(killed at step %d, the %d-th call)", step, at)
	}
	return true
}

// wantOldOrNew checks what readers find: all of the old generation before
// the commit, all of the new one after.
func wantOldOrNew(t *testing.T, s *Share, old uint64, committed bool, names []string) uint64 {
	t.Helper()
	want := old
	if committed {
		want++
	}
	got, err := Read(s.AuthDir())
	if want == 0 {
		if !errors.Is(err, ErrUnpublished) {
			t.Errorf("before anything was published: %+v, %v", got, err)
		}
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	if got.Generation != want || len(got.Files) != len(names) {
		t.Errorf("current is %d with %d files, want %d with %d", got.Generation, len(got.Files), want, len(names))
	}
	for _, name := range names {
		if n, err := generationOf(got.Files[name], name); err != nil || n != want {
			t.Errorf("%s: generation %d, %v; want %d", name, n, err, want)
		}
	}
	return want
}

// wantRepaired checks that no uncommitted generation left anything.
func wantRepaired(t *testing.T, s *Share, current uint64, names []string) {
	t.Helper()
	want := []string{}
	if current > 0 {
		var files []File
		for _, name := range names {
			files = append(files, File{Name: name})
		}
		want = append(tops(files), layout.Data, layout.Generation(current), layout.Announcement(current))
	}
	got := slices.DeleteFunc(entries(t, s), func(name string) bool {
		gen, isGen := layout.ParseGeneration(name)
		is, isIs := layout.ParseAnnouncement(name)
		return isGen && gen < current || isIs && is < current // not past the grace, or not pruned yet
	})
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("after repair auth/ holds\n%q, want\n%q", got, want)
	}
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(s.AuthDir(), name))
		if n, terr := generationOf(data, name); err != nil || terr != nil || n != current {
			t.Errorf("opening %s gives generation %d, %v %v", name, n, err, terr)
		}
	}
}

// childHammer publishes in the share at args[0] without end, or args[1] times if
// that is not 0, with the grace args[2]; it writes each number when it is published.
func childHammer(args []string) error {
	grace, err := time.ParseDuration(args[2])
	if err != nil {
		return err
	}
	s, err := Open(args[0], Options{Grace: grace, Overlap: 4 * grace,
		Renewed: func(name string, _ []byte) bool { return name == "token" }})
	if err != nil {
		return err
	}
	times, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	for i := 0; times == 0 || i < times; i++ {
		p, err := s.Publish(context.Background(), 0, provenFiles(args[3:]...))
		if err != nil {
			return err
		}
		fmt.Println(p.Generation)
	}
	return nil
}

// TestKilledAnywhere kills writers at random moments. This includes repairs, because each
// writer begins where the last one was killed.
func TestKilledAnywhere(t *testing.T) {
	rounds := 40
	if testing.Short() {
		rounds = 5
	}
	s := newTestShare(t, plainOptions)
	newest := uint64(0)
	for range rounds {
		cmd := child(t, "hammer", s.Dir(), "0", "2ms", "token", "meta")
		out := &strings.Builder{}
		cmd.Stdout = out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the writer publishes", func() bool {
			n, err := s.Current()
			return err == nil && n > newest
		})
		time.Sleep(rand.N(3 * time.Millisecond)) // not to wait, but to hit another instruction
		cmd.Process.Kill()
		cmd.Wait()

		published := strings.Fields(out.String())
		reported := uint64(0)
		if len(published) > 0 {
			reported, _ = strconv.ParseUint(published[len(published)-1], 10, 64)
		}
		got, err := Read(s.AuthDir())
		if err != nil {
			t.Fatal(err)
		}
		for name, data := range got.Files {
			if n, err := generationOf(data, name); err != nil || n != got.Generation {
				t.Fatalf("%s of generation %d: %d, %v", name, got.Generation, n, err)
			}
		}
		if len(got.Files) != 2 || got.Generation < reported || got.Generation <= newest {
			t.Fatalf("current is %d with %d files; reported was %d, before it %d", got.Generation, len(got.Files), reported, newest)
		}
		newest = got.Generation
	}
	if err := s.Repair(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Prune(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	wantEntries(t, s, "token", "meta", layout.Data, layout.Generation(newest), layout.Announcement(newest))
}
