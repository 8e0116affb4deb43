package audit

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestFlood: a sandbox that is refused all the time, with lines as long as it can make them,
// takes little of the log. What others wrote stays, and the number of the rest is told.
func TestFlood(t *testing.T) {
	for what, most := range map[string]int{Refusal: 10 + 60 + 7, Exchange: 200 + 360 + 7} {
		t.Run(what, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit.log")
			synctest.Test(t, func(t *testing.T) {
				l := open(t, path)
				l.Write(Event{What: Publish, Sandbox: "quiet", TokenID: "j"})
				hostile := Event{What: what, Sandbox: "loud", Caller: "socket", Audience: strings.Repeat("<", 60<<10), Reason: "no"}
				const sent = 100 * 3600
				for range sent {
					l.Write(hostile)
					time.Sleep(10 * time.Millisecond)
				}
				l.Write(Event{What: what, Sandbox: "quiet", Caller: "socket", Audience: "a", Reason: "no"})
				l.Close()

				info, err := os.Stat(path)
				if err != nil || info.Size() > int64(most)*2*maxCaused {
					t.Errorf("an hour takes %d bytes, %v", info.Size(), err)
				}
				all := read(t, open(t, path))
				told, quiet := 0, 0
				for _, e := range all {
					more := 0
					_, _ = fmt.Sscanf(e.Reason, "%d more", &more)
					switch {
					case e.Sandbox == "quiet":
						quiet++
					case more > 0:
						told += more
					default:
						told++
					}
				}
				if quiet != 2 || told != sent || len(all) > most+2 {
					t.Errorf("%d lines, %d of the quiet sandbox, %d told of %d", len(all), quiet, told, sent)
				}
			})
		})
	}
}

// TestManyFlood: many sandboxes together take little more, and those that are quiet again are
// forgotten.
func TestManyFlood(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	synctest.Test(t, func(t *testing.T) {
		l := open(t, path)
		for range 60 {
			for i := range 300 {
				l.Write(Event{What: Refusal, Sandbox: fmt.Sprint("loud", i), Caller: "socket", Reason: "no"})
			}
			time.Sleep(time.Minute)
		}
		refusals := 0
		for _, e := range read(t, l) {
			if !strings.Contains(e.Reason, "more") {
				refusals++
			}
		}
		if refusals < 100 || refusals > 100+360 {
			t.Errorf("%d refusals in an hour", refusals)
		}
		time.Sleep(2 * sumAfter)
		l.Write(Event{What: Refusal, Sandbox: "another", Reason: "no"})
		if n := len(l.many.own); n != 1 {
			t.Errorf("%d callers are remembered", n)
		}
		l.Close()
	})
}
