//go:build e2e && storm

package e2e

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"openshell-vm/internal/procfs"
)

const (
	stormShares = 200
	stormTTL    = 16 * time.Second
	// served is how long a gateway has to run before an expired token is its fault, after nobody
	// has renewed for longer than a token's life.
	served = time.Second
)

// stormLength returns the variable STORM; by default 10 minutes.
func stormLength(t *testing.T) time.Duration {
	length, err := time.ParseDuration(cmp.Or(os.Getenv("STORM"), "10m"))
	if err != nil {
		t.Fatal(err)
	}
	return length
}

// TestStorm kills the gateway again and again. Meanwhile readers on the host read 200 shares, and
// readers in two sandboxes of each driver read their own. Every reading is verified with the public
// key and without leeway. After a gap longer than a token's life, a reading may be expired only
// until a gateway has run for a second. Then come the faults that once stopped a running
// sandbox's renewals, while the readers read on.
func TestStorm(t *testing.T) {
	w := newWorld(t, os.Getuid())
	w.ext4(w.stateDir(), 768)
	w.showEngines(w.stateDir())
	for _, name := range hostVars {
		w.setenv(name, os.Getenv(name))
	}
	s := newStorm(w)
	s.fill()
	s.read()
	s.phase("storm", func() { s.kill(stormLength(t)) })
	s.phase("held locks", s.heldLocks)
	s.phase("a state directory that can't be used for seconds", s.closedState)
	s.phase("a removal that fails", s.failedRemoval)
	s.phase("a full disk", s.fullDisk)
	s.end()
}

// storm is one run: its readers, its killer, and what was read.
type storm struct {
	*world
	sandboxes []string
	shares    []string // their directories, sandboxes' too

	mu    sync.Mutex
	keys  map[string]ed25519.PublicKey
	known map[string]string // hash → token, of the sandboxes' shares
	up    []span            // when a gateway ran
	bad   map[string]int    // what was wrong → how often
	first map[string]string // one example of each
	last  map[string]string // and the newest
	stall time.Duration     // the longest that the disk has taken for a file since the phase began
	// forgiven are shares whose renewal is held up from outside; holding while it is
	forgiven map[string]bool
	holding  bool
	removing string // the share of a sandbox whose removal was asked for

	reads, expired, kills, gaps atomic.Int64
	stop                        chan struct{}
	running                     sync.WaitGroup
}

// span is a time during which one gateway process ran; to is zero while it does.
type span struct{ from, to time.Time }

func newStorm(w *world) *storm {
	return &storm{world: w, keys: map[string]ed25519.PublicKey{}, known: map[string]string{},
		bad: map[string]int{}, first: map[string]string{}, last: map[string]string{}, stop: make(chan struct{})}
}

// fill makes the shares and the sandboxes. The sandboxes' workload is the witness.
func (s *storm) fill() {
	s.Helper()
	// The sandboxes' readers report hashes, so the judge has to know each token.
	s.loop(20*time.Millisecond, func() {
		tokens, _ := filepath.Glob(filepath.Join(s.stateDir(), "shares", "*", "auth", "sandbox.jwt"))
		for _, path := range tokens {
			s.learn(path)
		}
	})
	for i := range stormShares {
		s.shares = append(s.shares, s.makeShare(fmt.Sprintf("s%03d", i)))
	}
	for _, e := range engines {
		for i := range 2 {
			name := fmt.Sprintf("%s%d", e.driver, i)
			args := append([]string{"run", "-d", "--name", name, "--ttl", stormTTL.String(), "--mount", s.readerDir() + ":/witness"}, e.flags...)
			s.run(append(args, "--", "/witness/reader", "-count", "0", "-every", "100ms")...)
			s.sandboxes = append(s.sandboxes, name)
			s.shares = append(s.shares, s.sandbox(name).Share)
		}
	}
}

// read starts the host's readers and the watch over the gateway.
func (s *storm) read() {
	s.loop(50*time.Millisecond, s.watchGateway)
	s.loop(100*time.Millisecond, s.writeOne)
	for i := range 2 {
		n := i
		last := map[string]uint64{}
		s.loop(time.Millisecond, func() {
			dir := s.shares[n%len(s.shares)]
			n += 2
			s.readOne(dir, last)
		})
	}
}

// writeOne is the baseline: how long it takes to write one file to the disk.
func (s *storm) writeOne() {
	began := time.Now()
	f, err := os.OpenFile(filepath.Join(s.stateDir(), "..baseline"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return // the state directory can't be used, or the disk is full
	}
	defer f.Close()
	if _, err := f.Write([]byte("x")); err == nil {
		_ = f.Sync()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stall = max(s.stall, time.Since(began))
}

// loop runs f again and again until the end.
func (s *storm) loop(every time.Duration, f func()) {
	s.running.Go(func() {
		for {
			select {
			case <-s.stop:
				return
			case <-time.After(every):
				f()
			}
		}
	})
}

// gatewayProcess returns the pid of the process that serves: it holds the state directory's lock,
// and is no supervisor.
func (s *storm) gatewayProcess() int {
	for _, pid := range procfs.PIDs() {
		args, _ := procfs.Args(pid)
		if len(args) > 0 && filepath.Base(args[0]) == "openshell-gateway" && strings.HasPrefix(args[0], s.home) && !slices.Contains(args, "--supervise") &&
			!slices.Contains(args, "--start") && !slices.Contains(args, "supervise") && !slices.Contains(args, "start") {
			return pid
		}
	}
	return 0
}

// watchGateway notes since when a gateway runs, and until when.
func (s *storm) watchGateway() {
	pid, now := s.gatewayProcess(), time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	runs := len(s.up) > 0 && s.up[len(s.up)-1].to.IsZero()
	switch {
	case pid != 0 && !runs:
		s.up = append(s.up, span{from: now})
	case pid == 0 && runs:
		s.up[len(s.up)-1].to = now
	}
}

// excused reports whether at that time no gateway had run for long enough.
func (s *storm) excused(at time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, up := range s.up {
		if !at.Before(up.from.Add(served)) && (up.to.IsZero() || at.Before(up.to)) {
			return false
		}
	}
	return true
}

// readOne reads a share as a program on the host does.
func (s *storm) readOne(dir string, last map[string]uint64) {
	data, err := os.ReadFile(filepath.Join(dir, "sandbox.jwt"))
	at := time.Now()
	s.reads.Add(1)
	if err != nil {
		if !s.isRemoved(dir) {
			s.note("missing", fmt.Sprintf("%s: %v", dir, err))
		}
		return
	}
	claims, err := s.verify(strings.TrimSpace(string(data)), at)
	if err != nil {
		s.judge(err, at, dir)
		return
	}
	if claims.Generation < last[dir] {
		s.note("a generation that goes back", fmt.Sprintf("%s: %d after %d", dir, claims.Generation, last[dir]))
	}
	last[dir] = claims.Generation
	s.wasFresh(dir)
}

// judge sorts a refused reading.
func (s *storm) judge(err error, at time.Time, where string) {
	kind := "refused"
	if errors.Is(err, jwt.ErrTokenExpired) {
		if s.excused(at) || s.isForgiven(where) {
			s.expired.Add(1)
			return
		}
		kind = "expired while a gateway runs"
	}
	s.note(kind, fmt.Sprintf("%s at %s: %v", where, at.Format(time.StampMilli), err))
}

func (s *storm) note(kind, example string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bad[kind]++
	if s.first[kind] == "" {
		s.first[kind] = example
	}
	s.last[kind] = example
}

type stormClaims struct {
	jwt.RegisteredClaims
	Generation uint64 `json:"gen"`
}

// verify is a resource server's check, with no leeway.
func (s *storm) verify(raw string, at time.Time) (c stormClaims, err error) {
	_, err = jwt.ParseWithClaims(raw, &c, func(t *jwt.Token) (any, error) { return s.key(t.Header["kid"]) },
		jwt.WithValidMethods([]string{"EdDSA"}), jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(0),
		jwt.WithTimeFunc(func() time.Time { return at }))
	return c, err
}

func (s *storm) key(kid any) (ed25519.PublicKey, error) {
	id := fmt.Sprint(kid)
	s.mu.Lock()
	key := s.keys[id]
	s.mu.Unlock()
	if key != nil {
		return key, nil
	}
	public, err := publicKey(filepath.Join(s.stateDir(), "keys"), kid)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[id] = public.(ed25519.PublicKey)
	return s.keys[id], nil
}

// learn notes the token that a sandbox's share holds now.
func (s *storm) learn(path string) {
	data, err := os.ReadFile(path)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[hashOf(data)] = strings.TrimSpace(string(data))
}

// kill is the storm: it kills the gateway, sometimes its supervisor, too, and makes a few gaps
// longer than a token's life.
func (s *storm) kill(length time.Duration) {
	for end, n := time.Now().Add(length), 1; time.Now().Before(end); n++ {
		time.Sleep(time.Duration(200+rand.IntN(6000)) * time.Millisecond)
		if n%20 == 0 {
			s.gap(stormTTL + 2*time.Second)
			continue
		}
		if pid := s.gatewayProcess(); pid != 0 {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			s.kills.Add(1)
		}
		if n%7 == 0 {
			s.killGateway()
			s.try("ps")
		}
	}
	s.run("ps")
}

// gap lets every token expire.
func (s *storm) gap(length time.Duration) {
	s.Helper()
	s.killGateway()
	s.gaps.Add(1)
	time.Sleep(length)
	s.try("ps")
	s.mu.Lock()
	from := s.up[len(s.up)-1].from
	s.mu.Unlock()
	s.eventually("every share is fresh again", time.Minute, func() bool {
		return !slices.ContainsFunc(s.shares, s.isExpired)
	})
	s.Logf("all fresh at most %v after a gateway's start that followed a gap", time.Since(from).Round(10*time.Millisecond))
}

// isExpired reads a share as it is now.
func (s *storm) isExpired(dir string) bool {
	data, err := os.ReadFile(filepath.Join(dir, "sandbox.jwt"))
	if err != nil {
		return false // readOne judges that
	}
	_, err = s.verify(strings.TrimSpace(string(data)), time.Now())
	return errors.Is(err, jwt.ErrTokenExpired)
}

// heldLocks lets another program hold the locks of 24 shares over a restart. These shares can't be
// renewed. All others have to be.
func (s *storm) heldLocks() {
	held := s.shares[:24]
	s.forgive(held, func() {
		for _, dir := range held {
			lock, err := os.OpenFile(filepath.Join(filepath.Dir(dir), "lock"), os.O_RDWR, 0)
			s.must(err)
			defer lock.Close()
			s.must(syscall.Flock(int(lock.Fd()), syscall.LOCK_EX))
		}
		s.killGateway()
		began := time.Now()
		s.run("ps")
		s.Logf("the API answered %v after a start with %d held locks", time.Since(began).Round(10*time.Millisecond), len(held))
		time.Sleep(stormTTL + stormTTL/2)
	})
}

// closedState makes the state directory unusable for some seconds, while the supervisor restarts
// the gateway.
func (s *storm) closedState() {
	s.must(os.Chmod(s.stateDir(), 0o755))
	s.must(syscall.Kill(s.gatewayProcess(), syscall.SIGKILL))
	time.Sleep(4 * time.Second)
	s.must(os.Chmod(s.stateDir(), 0o700))
	s.eventually("the supervisor brings a gateway back, with nobody's help", 20*time.Second, func() bool { return s.gatewayProcess() != 0 })
	time.Sleep(stormTTL)
}

// failedRemoval makes a removal fail, by a hung engine. Until the engine has removed the sandbox,
// its token has to be renewed.
func (s *storm) failedRemoval() {
	data, err := os.ReadFile(filepath.Join(os.Getenv("OPENSHELL_ENGINES"), "docker.pid"))
	s.must(err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	s.must(err)
	share := s.sandbox("docker0").Share
	s.mu.Lock()
	s.removing = share
	s.mu.Unlock()
	s.must(syscall.Kill(pid, syscall.SIGSTOP))
	removal := s.command(context.Background(), "openshell-vm", "rm", "-f", "docker0")
	var said bytes.Buffer
	removal.Stderr = &said
	err = removal.Run()
	s.Logf("rm -f while the engine hangs: %v: %s", err, strings.TrimSpace(said.String()))
	time.Sleep(stormTTL)
	s.must(syscall.Kill(pid, syscall.SIGCONT))
	time.Sleep(stormTTL)
}

// showEngines makes the same mount in the namespaces of the engines.
func (w *world) showEngines(dir string) {
	w.Helper()
	device, err := exec.Command("findmnt", "-n", "-o", "SOURCE", dir).Output()
	w.must(err)
	for _, name := range []string{"docker", "podman"} {
		pid, err := os.ReadFile(filepath.Join(os.Getenv("OPENSHELL_ENGINES"), name+".pid"))
		w.must(err)
		within := []string{"--mount=/proc/" + strings.TrimSpace(string(pid)) + "/ns/mnt"}
		out, err := exec.Command("nsenter", append(within, "mount", strings.TrimSpace(string(device)), dir)...).CombinedOutput()
		if err != nil {
			w.Fatalf("%v: %s", err, out)
		}
		w.Cleanup(func() { w.must(exec.Command("nsenter", append(within, "umount", "-l", dir)...).Run()) })
	}
}

// fullDisk lets another program take every byte of the shares' disk.
func (s *storm) fullDisk() {
	s.eventually("room is set aside", time.Minute, func() bool { return s.reserved() >= 6*len(s.shares) })
	before := s.reserved()
	stop := s.hog(s.stateDir())
	time.Sleep(2*stormTTL + stormTTL/2)
	s.Logf("ps on a full disk: %s", strings.TrimSpace(s.try("ps").stderr))
	s.Logf("of %d renewals that were set aside %d are left", before, s.reserved())
	stop()
	time.Sleep(stormTTL)
}

// forgive excuses expired readings of some shares, until f has run and each was read fresh again.
func (s *storm) forgive(dirs []string, f func()) {
	s.mu.Lock()
	s.forgiven, s.holding = map[string]bool{}, true
	for _, dir := range dirs {
		s.forgiven[dir] = true
	}
	s.mu.Unlock()
	f()
	s.mu.Lock()
	s.holding = false
	s.mu.Unlock()
	s.eventually("the held shares are fresh again", time.Minute, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.forgiven) == 0
	})
}

// isRemoved reports whether dir is the share of the sandbox that is being removed, and its token
// is gone.
func (s *storm) isRemoved(dir string) bool {
	s.mu.Lock()
	removing := s.removing
	s.mu.Unlock()
	_, err := os.Lstat(filepath.Join(dir, "sandbox.jwt"))
	return dir == removing && os.IsNotExist(err)
}

// isForgiven reports whether an expired reading of dir is excused now.
func (s *storm) isForgiven(dir string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.forgiven[dir]
}

// wasFresh notes a good reading.
func (s *storm) wasFresh(dir string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.holding {
		delete(s.forgiven, dir)
	}
}

// phase runs one part and logs what was read during it.
func (s *storm) phase(name string, f func()) {
	s.Helper()
	began, reads, expired := time.Now(), s.reads.Load(), s.expired.Load()
	s.mu.Lock()
	s.stall = 0
	s.mu.Unlock()
	f()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Logf("%s: %v, %d reads, %d expired in a gap; the disk took up to %v for a file; bad so far: %v", name, time.Since(began).Round(time.Second),
		s.reads.Load()-reads, s.expired.Load()-expired, s.stall.Round(time.Millisecond), s.bad)
}

// end judges the readings of the sandboxes, and reports.
func (s *storm) end() {
	s.Helper()
	said := map[string]string{}
	for _, name := range s.sandboxes {
		if r := s.try("logs", name); r.code == 0 {
			said[name] = r.stdout
		}
	}
	close(s.stop) // only now: every token that was read inside has to be known
	s.running.Wait()
	inside := 0
	for name, log := range said {
		inside += s.judgeInside(name, log)
	}
	s.Logf("%d kills, %d gaps; %d reads on the host, %d in sandboxes; %d expired in a gap", s.kills.Load(), s.gaps.Load(), s.reads.Load(), inside, s.expired.Load())
	for kind, n := range s.bad {
		s.Errorf("%d × %s, first %s, last %s", n, kind, s.first[kind], s.last[kind])
	}
	if inside == 0 || s.reads.Load() == 0 {
		s.Error("nothing was read")
	}
}

// judgeInside judges the readings of one sandbox by its own clock.
func (s *storm) judgeInside(name, log string) (n int) {
	last := uint64(0)
	for line := range strings.Lines(log) {
		var r reading
		if json.Unmarshal([]byte(line), &r) != nil {
			continue // the first line after a rotation
		}
		n++
		at := time.Unix(0, r.UnixNano)
		raw, known := s.known[r.Hash]
		switch {
		case r.Error != "":
			s.note("unreadable in a sandbox", name+": "+r.Error)
			continue
		case !known:
			s.note("unknown in a sandbox", fmt.Sprintf("%s: generation %d", name, r.Generation))
			continue
		case r.Generation < last:
			s.note("a generation that goes back", fmt.Sprintf("%s: %d after %d", name, r.Generation, last))
		}
		last = r.Generation
		if _, err := s.verify(raw, at); err != nil {
			s.judge(err, at, name)
		}
	}
	return n
}
