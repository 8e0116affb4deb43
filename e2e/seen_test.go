//go:build e2e

package e2e

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
)

// seenEnv asks for more tries: OPENSHELL_E2E_SEEN=1000. A guest tells what it sees once a second.
const seenEnv = "OPENSHELL_E2E_SEEN"

// TestPutWaitIsNeverTooEarly: once share put --wait has ended, a program inside reads what was put,
// each time. It prints how long that took, and how long after the publish it was seen.
func TestPutWaitIsNeverTooEarly(t *testing.T) {
	tries, _ := strconv.Atoi(os.Getenv(seenEnv))
	tries = cmp.Or(tries, 10)
	eachEngine(t, func(t *testing.T, w *world, e engine) {
		w.start("box", "24h", e.flags...)
		read := w.reader("box", "/etc/openshell/auth/note")
		var puts, seen []time.Duration
		early, late, began := 0, 0, time.Now()
		for i := range tries {
			text := fmt.Sprintf("note %d", i)
			r := w.tryWith(text+"\n", "share", "put", "--wait", "box", "note=-")
			if r.code != 0 { // a busy host may need longer than the bound; it must be said then
				late++
				t.Logf("try %d: %s", i, r.stderr)
				continue
			}
			if got := read(); got != text {
				early++
				t.Errorf("%q is told as seen, and %q is read", text, got)
			}
			puts = append(puts, r.took)
			if token := w.sandbox("box").Token; token.SeenAfter > 0 {
				seen = append(seen, token.SeenAfter)
			}
		}
		t.Logf("%s: %d tries in %v, %d too early, %d not in time; publish to seen: %s; share put --wait: %s", e.driver, tries,
			time.Since(began).Round(time.Second), early, late, percentiles(seen), percentiles(puts))
		if len(puts) == 0 || len(seen) == 0 {
			t.Errorf("of %d tries %d were seen, and of %d it is told how soon", tries, len(puts), len(seen))
		}
	})
}

func percentiles(all []time.Duration) string {
	if len(all) == 0 {
		return "nothing"
	}
	slices.Sort(all)
	at := func(percent int) time.Duration { return all[(len(all)-1)*percent/100].Round(100 * time.Microsecond) }
	return fmt.Sprintf("p50 %v, p99 %v, max %v", at(50), at(99), at(100))
}

// reader starts a program in a sandbox that stays. Each call has it read a file, and returns the one
// line in it.
func (w *world) reader(name, file string) (read func() string) {
	w.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := w.command(ctx, "openshell-vm", "exec", "-i", name, "sh", "-c", "while read -r _; do cat "+file+"; done")
	in, err := cmd.StdinPipe()
	w.must(err)
	out, err := cmd.StdoutPipe()
	w.must(err)
	w.must(cmd.Start())
	w.Cleanup(func() { in.Close(); cancel(); _ = cmd.Wait() })
	lines := bufio.NewReader(out)
	return func() string {
		w.Helper()
		_, err := io.WriteString(in, "\n")
		w.must(err)
		line, err := lines.ReadString('\n')
		w.must(err)
		return line[:len(line)-1]
	}
}
