// Package driverstest is the one conformance suite that every driver passes on
// its real engine. A driver's e2e test describes the engine in a Harness and
// calls Run. The suite publishes real generations with package share, watches
// them from inside with a static witness program, and breaks things with the
// harness's hooks.
//
// It is the one place under drivers that may import share, since it is for tests.
package driverstest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"openshell-vm/drivers/driverstest/copying"
	"openshell-vm/drivers/driverstest/fixture"
	"openshell-vm/drivers/driverstest/roots"
	"openshell-vm/drivers/driverstest/sharing"
)

// table is the results of all cases.
type table []row

// row is one line of the table.
type row struct{ name, result, note string }

// testCase is one case. It returns its figure or remark for the table.
type testCase struct {
	name string
	run  func(t *testing.T, s *fixture.Suite) (note string)
}

var cases = []testCase{
	{"starts, runs and ends with the workload's exit code", exitCodes},
	{"the contract with what runs inside, for every user", contract},
	{"both files of one generation through ..data", pairs},
	{"attached before the start, nothing is lost", attachEarly},
	{"attached again, with and without replay", attachAgain},
	{"started again as soon as it has ended", again},
	{"read-only from inside, submounts too", readOnly},
	{"writable mounts beside read-only ones, and a volume", writes},
	{"publish to visible", visible},
	{"what is told as seen is seen", seen},
	{"1,000 publishes, one racing reader", racing},
	{"stop, start and remove are idempotent", idempotent},
	{"resumed after expiry, a fresh generation is there", resumed},
	{"the engine is restarted in between", engineRestarted},
	{"removed behind the driver's back", removedBehind},
	{"a gateway without records finds its sandboxes", recordsLost},
	{"who only says that it is a sandbox is none", impostors},
	{"two sandboxes never see each other's share", apart},
	{"one share in two sandboxes, and two in one", sharing.Case},
	{"no mount reaches a hidden directory", hiddenDirs},
	{"no mount reaches the kernel or a control socket", kernelAndControls},
	{"no token in metadata, argv or environment", noLeak},
	{"an engine that sees other mounts is refused", foreign},
	{"what vanished since is refused in one line", vanished},
	{"standard input, to its end", stdin},
	{"much input, to a reader that sleeps first", bigInput},
	{"much output", bigOutput},
	{"detached from a terminal, it goes on", detachTerminal},
	{"unread input is in no signal's way", unreadInput},
	{"a client that dies ends no input", deadInput},
	{"what ends with unread input has its exit code", endsUnread},
	{"logs keep stdout and stderr apart, since the last start", logs},
	{"terminal, with its size", terminal},
	{"signals", signals},
	{"a root as people have them", roots.OddRootCase},
	{"an image as people don't have them", roots.OddImageCase},
	{"exec", execs},
	{"files in and out, published ports, and what it uses", copying.Copies},
	{"a network, and none", networks},
	{"ends as asked: grace, then kill", graceful},
	{"bad requests are refused before anything is made", refused},
}

// Harness is one driver on one engine: see package fixture.
type Harness = fixture.Harness

// Run runs every case against h and logs a table at the end.
func Run(t *testing.T, h fixture.Harness) {
	s := fixture.NewSuite(t, h)
	var all table
	t.Cleanup(func() { t.Log(all.of(h.Name)) })
	for _, c := range cases {
		all.one(t, s, c)
	}
}

// one runs a case and notes its result.
func (all *table) one(t *testing.T, s *fixture.Suite, c testCase) {
	r := row{name: c.name, result: "FAIL"}
	begin, ran := time.Now(), false
	t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
		ran = true
		note := c.run(t, s)
		if reason, ok := strings.CutPrefix(note, fixture.NotApplicable); ok {
			r.result, r.note = "n/a", reason
			t.Skip(reason)
		}
		if !t.Failed() {
			r.result, r.note = "ok", note
		}
	})
	if !ran { // go test -run names others
		return
	}
	if r.note == "" {
		r.note = fmt.Sprintf("%.1f s", time.Since(begin).Seconds())
	}
	*all = append(*all, r)
}

func (all table) of(name string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n| case | result | |\n|---|---|---|\n", name)
	for _, r := range all {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", r.name, r.result, r.note)
	}
	return b.String()
}
