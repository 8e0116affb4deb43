package audit

import (
	"fmt"
	"maps"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// bound says how many lines of a kind callers can cause: one alone, and all together.
type bound struct {
	own, all           rate.Limit
	ownBurst, allBurst int
	more               string // the line for those that were not written; %d is their number
}

// bounds are the kinds of lines that a sandbox can cause as often as it likes. At a KiB for a
// line, one sandbox needs weeks of refusals, or several days of exchanges, to fill the files.
var bounds = map[string]bound{
	Refusal:  {rate.Every(time.Minute), rate.Every(10 * time.Second), 10, 100, "%d more were refused"},
	Exchange: {rate.Every(10 * time.Second), rate.Every(2 * time.Second), 200, 1000, "%d more tokens were made"},
}

// sumAfter is how long lines are counted before their number is written.
const sumAfter = 10 * time.Minute

// floods keeps one caller from rotating away what others wrote. It is safe for concurrent use.
type floods struct {
	write func(Event)

	mu    sync.Mutex
	own   map[flooder]*flood
	all   map[string]*rate.Limiter // by kind
	ended bool
}

// flooder is who causes lines. Pods are told apart by their ServiceAccount once that is verified: whoever
// is refused can name any.
type flooder struct {
	what, sandbox, caller string
	account               Pod // only its cluster, namespace and ServiceAccount
}

func flooderOf(e Event) flooder {
	f := flooder{what: e.What, sandbox: e.Sandbox, caller: e.Caller}
	if e.Pod != nil && e.What == Exchange {
		f.account = Pod{Cluster: e.Pod.Cluster, Namespace: e.Pod.Namespace, ServiceAccount: e.Pod.ServiceAccount}
	}
	return f
}

type flood struct {
	turns *rate.Limiter
	more  int         // lines that were not written
	timer *time.Timer // writes their number; nil if there are none
}

func newFloods(write func(Event)) *floods {
	f := &floods{write: write, own: map[flooder]*flood{}, all: map[string]*rate.Limiter{}}
	for what, b := range bounds {
		f.all[what] = rate.NewLimiter(b.all, b.allBurst)
	}
	return f
}

// admits reports whether an event is written. If not, it counts.
func (f *floods) admits(e Event) bool {
	b, bounded := bounds[e.What]
	if !bounded {
		return true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	who := flooderOf(e)
	of := f.own[who]
	if of == nil {
		f.forget()
		of = &flood{turns: rate.NewLimiter(b.own, b.ownBurst)}
		f.own[who] = of
	}
	if of.turns.Allow() && f.all[e.What].Allow() {
		return true
	}
	of.more++
	if of.timer == nil && !f.ended {
		of.timer = time.AfterFunc(sumAfter, func() { f.sum(who) })
	}
	return false
}

// forget drops callers that have been quiet for long. The caller holds f.mu.
func (f *floods) forget() {
	maps.DeleteFunc(f.own, func(_ flooder, of *flood) bool {
		return of.timer == nil && of.turns.Tokens() >= float64(of.turns.Burst())
	})
}

// sum writes how many lines of a caller were not written.
func (f *floods) sum(who flooder) {
	f.mu.Lock()
	of := f.own[who]
	more := of.more
	of.more, of.timer = 0, nil
	f.mu.Unlock()
	if more == 0 {
		return
	}
	e := Event{What: who.what, Sandbox: who.sandbox, Caller: who.caller, Reason: fmt.Sprintf(bounds[who.what].more, more)}
	if who.account != (Pod{}) {
		e.Pod = &who.account
	}
	f.write(e)
}

// end writes the sums at once.
func (f *floods) end() {
	f.mu.Lock()
	f.ended = true
	var left []flooder
	for who, of := range f.own {
		if of.timer != nil && of.timer.Stop() {
			left = append(left, who)
		}
	}
	f.mu.Unlock()
	for _, who := range left {
		f.sum(who)
	}
}
