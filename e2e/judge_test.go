//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// reading is one line of the witness (e2e/reader).
type reading struct {
	KeyID      string `json:"kid"`
	Generation uint64 `json:"gen"`
	Hash       string `json:"hash"`
	Opened     int64  `json:"opened"`
	UnixNano   int64  `json:"t"`
	Before     int64  `json:"before"`
	Error      string `json:"error"`

	arrived time.Time // on the host
}

// judge knows every token that a gateway published for one sandbox, by its hash. It verifies
// tokens with the public keys and without leeway, and shares no code with what it judges.
type judge struct {
	w         *world
	auth      string
	mu        sync.Mutex
	published map[string]string    // hash → token
	appeared  map[uint64]time.Time // generation → when the host first saw it current
	readings  int
	delay     time.Duration // the least that a reading took from the sandbox to the test
}

// judgeOf watches the share of a sandbox until the test ends.
func (w *world) judgeOf(auth string) *judge {
	j := &judge{w: w, auth: auth, published: map[string]string{}, appeared: map[uint64]time.Time{}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ; ctx.Err() == nil; time.Sleep(2 * time.Millisecond) {
			j.collect()
		}
	}()
	w.Cleanup(func() { cancel(); <-done })
	return j
}

func (j *judge) collect() {
	data, err := os.ReadFile(filepath.Join(j.auth, "sandbox.jwt"))
	if err != nil {
		return
	}
	hash := hashOf(data)
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, known := j.published[hash]; known {
		return
	}
	raw := strings.TrimSpace(string(data))
	j.published[hash] = raw
	var claims struct {
		jwt.RegisteredClaims
		Generation uint64 `json:"gen"`
	}
	if _, _, err := jwt.NewParser().ParseUnverified(raw, &claims); err == nil {
		j.appeared[claims.Generation] = time.Now()
	}
}

// since returns when the host first saw a generation as current.
func (j *judge) since(generation uint64) time.Time {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.appeared[generation]
}

// hashOf returns a token file's hash in the form that the witness reports.
func hashOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// tokens returns all tokens that were published so far.
func (j *judge) tokens() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var all []string
	for _, token := range j.published {
		all = append(all, token)
	}
	return all
}

// verify checks one raw token at the given time, as a resource server would.
func (j *judge) verify(raw string, at time.Time) error {
	_, err := jwt.Parse(raw, func(t *jwt.Token) (any, error) {
		return publicKey(filepath.Join(j.w.stateDir(), "keys"), t.Header["kid"])
	}, jwt.WithValidMethods([]string{"EdDSA"}), jwt.WithExpirationRequired(), jwt.WithLeeway(0),
		jwt.WithTimeFunc(func() time.Time { return at }))
	return err
}

// publicKey finds the key by its id in the gateway's key directory.
func publicKey(dir string, kid any) (any, error) {
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, file := range files {
		if !strings.HasPrefix(filepath.Base(file), fmt.Sprint(kid)) {
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		block, _ := pem.Decode(data)
		if block == nil {
			continue
		}
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, err
		}
		return key.(crypto.Signer).Public(), nil
	}
	return nil, fmt.Errorf("no key %v", kid)
}

// inTime is verify for a token that was read at some moment between two times. On a busy machine
// the reader may stand still before and after that, and the reading may be under way for long.
func (j *judge) inTime(raw string, from, to time.Time) error {
	err := j.verify(raw, from)
	if errors.Is(err, jwt.ErrTokenNotValidYet) {
		err = j.verify(raw, to)
	}
	return err
}

// clockSlack is how far a sandbox's clock may be off, including the inaccuracy of comparing it.
const clockSlack = time.Second

// check says what is wrong with one reading: torn, missing, unknown or expired.
func (j *judge) check(r reading) error {
	if r.Error != "" {
		return fmt.Errorf("unreadable: %s", r.Error)
	}
	j.collect() // it may be newer than the watcher's last look
	j.mu.Lock()
	raw, known := j.published[r.Hash]
	j.mu.Unlock()
	if !known {
		return fmt.Errorf("generation %d with hash %s was never published", r.Generation, r.Hash)
	}
	if err := j.inTime(raw, time.Unix(0, r.Opened), time.Unix(0, r.UnixNano)); err != nil {
		return fmt.Errorf("generation %d, by the sandbox's clock: %w", r.Generation, err)
	}
	return j.checkClock(r)
}

// checkClock checks the sandbox's clock, since with a wrong clock its readings prove nothing. One
// reading may arrive late, but not all of many.
func (j *judge) checkClock(r reading) error {
	delay := r.arrived.Sub(time.Unix(0, r.Opened))
	if j.readings++; j.readings == 1 || delay < j.delay {
		j.delay = delay
	}
	if delay < -clockSlack || j.readings > 100 && j.delay > clockSlack {
		return fmt.Errorf("the sandbox's clock is off: of %d readings one arrived %v after it was made, by that clock, and none after less than %v",
			j.readings, delay, j.delay)
	}
	return nil
}

// witness runs the reader in a sandbox and calls f with each reading, until the reader ends, f
// returns false, or the time is up.
func (w *world) witness(name string, within time.Duration, f func(reading) bool, flags ...string) {
	w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	cmd := w.command(ctx, "openshell-vm", append([]string{"exec", name, "/witness/reader"}, flags...)...)
	out, err := cmd.StdoutPipe()
	w.must(err)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	w.must(cmd.Start())
	lines, stopped := bufio.NewScanner(out), false
	for !stopped && lines.Scan() {
		r := reading{arrived: time.Now()}
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			w.Fatalf("the witness said %q: %v", lines.Text(), err)
		}
		if stopped = !f(r); stopped {
			cancel()
		}
	}
	if err := cmd.Wait(); err != nil && !stopped {
		w.Fatalf("the witness in %s ended: %v (%s)", name, err, stderr.String())
	}
}
