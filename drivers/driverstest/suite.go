package driverstest

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest/testhost"
)

// patience bounds one wait for something to happen. A guest under emulation
// takes seconds to boot, and some more on a busy machine.
const patience = 5 * time.Minute

// suite is one run of all cases.
type suite struct {
	Harness
	gateway string
	driver  drivers.Driver
	witness string // on the host
	state   string // a gateway's state directory: hidden
	rows    []row
}

// row is one line of the table.
type row struct{ name, result, note string }

// testCase is one case. It returns its figure or remark for the table.
type testCase struct {
	name string
	run  func(t *testing.T, s *suite) (note string)
}

// notApplicable begins the note of a case that this harness can't run.
const notApplicable = "n/a: "

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
	{"1,000 publishes, one racing reader", racing},
	{"stop, start and remove are idempotent", idempotent},
	{"resumed after expiry, a fresh generation is there", resumed},
	{"the engine is restarted in between", engineRestarted},
	{"removed behind the driver's back", removedBehind},
	{"a gateway without records finds its sandboxes", recordsLost},
	{"who only says that it is a sandbox is none", impostors},
	{"two sandboxes never see each other's share", apart},
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
	{"a root as people have them", oddRoot},
	{"an image as people don't have them", oddImage},
	{"exec", execs},
	{"files in and out, published ports, and what it uses", copies},
	{"a network, and none", networks},
	{"ends as asked: grace, then kill", graceful},
	{"bad requests are refused before anything is made", refused},
}

// Run runs every case against h and logs a table at the end.
func Run(t *testing.T, h Harness) {
	s := newSuite(t, h)
	t.Cleanup(func() { t.Log(s.table()) })
	for _, c := range cases {
		s.one(t, c)
	}
}

// newSuite lays out what a gateway would have, and sees that the driver can be
// used.
func newSuite(t *testing.T, h Harness) *suite {
	t.Helper()
	s := &suite{Harness: h, gateway: newID(), state: filepath.Join(h.Dir, "state")}
	for _, dir := range []string{"bin", "state", "state/sandboxes", "state/shares", "state/keys", "sources"} {
		if err := os.MkdirAll(filepath.Join(h.Dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(s.state, 0o700); err != nil {
		t.Fatal(err)
	}
	s.witness = testhost.Witness(t, filepath.Join(h.Dir, "bin"))
	s.driver = h.New(s.gateway)
	if info := s.driver.Probe(t.Context()); !info.Usable {
		testhost.Missing(t, "%s can't be used: %s (%s)", h.Name, info.Problem, info.Hint)
	}
	return s
}

// one runs a case and notes its result.
func (s *suite) one(t *testing.T, c testCase) {
	r := row{name: c.name, result: "FAIL"}
	begin, ran := time.Now(), false
	t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
		ran = true
		note := c.run(t, s)
		if reason, ok := strings.CutPrefix(note, notApplicable); ok {
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
	s.rows = append(s.rows, r)
}

func (s *suite) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n| case | result | |\n|---|---|---|\n", s.Name)
	for _, r := range s.rows {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", r.name, r.result, r.note)
	}
	return b.String()
}

// eventually polls until check is content.
func (s *suite) eventually(t *testing.T, check func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// newID is a sandbox's or a gateway's: [a-z0-9]{12}.
func newID() string {
	b := make([]byte, 6)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
