//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// rewritesVar is how often TestSourceIsWhole rewrites its source. Without it the test does
// so for a while.
const rewritesVar = "OPENSHELL_E2E_REWRITES"

// TestSourceIsWhole rewrites a file of the host again and again, in place and by a rename in turns,
// while sandboxes of all drivers read it in tight loops, under two names. No reading may be torn, be
// of two versions or find a file missing. Writing in place stops halfway, for less time than a
// file has to rest.
func TestSourceIsWhole(t *testing.T) {
	t.Parallel()
	w := newWorld(t, os.Getuid())
	for _, name := range hostVars {
		w.setenv(name, os.Getenv(name))
	}
	source := filepath.Join(w.home, "source")
	w.rewrite(source, 1)
	var readers []*versionsReader
	var auth string
	for _, e := range engines {
		if host := hostVars[e.driver]; host != "" && os.Getenv(host) == "" {
			if os.Getenv("E2E_REQUIRE") == "1" {
				t.Fatalf("%s is not set", host)
			}
			continue
		}
		flags := append([]string{"--file", "one=" + source, "--file", "dir/two=" + source + ",mode=0400"}, e.flags...)
		auth = w.start(e.driver, "1h", flags...).Share
		readers = append(readers, w.readVersions(e.driver, "one", "dir/two"))
	}
	rewrites, _ := strconv.Atoi(os.Getenv(rewritesVar))
	version, began := 1, time.Now()
	for more := true; more; more = version <= rewrites || rewrites == 0 && version < 60 && time.Since(began) < time.Minute {
		version++
		w.rewrite(source, version)
		if version%4 == 0 {
			continue // the next one comes before this one has come to rest
		}
		w.eventually(fmt.Sprintf("version %d is published", version), patience, func() bool { return publishedVersion(auth) == version })
	}
	took := time.Since(began)
	for _, r := range readers {
		w.eventually(fmt.Sprintf("%s sees version %d", r.name, version), patience, func() bool { return r.sees(version) })
		looks, seen := r.end()
		t.Logf("%s: %d readings of both files, %d versions of %d in %v", r.name, looks, seen, version, took.Round(time.Second))
		if seen < version/2 && r.name != "vm" || seen < 3 {
			t.Errorf("%s has seen only %d versions of %d", r.name, seen, version)
		}
	}
}

// rewrite replaces a file by a version: even ones in place and in two parts, the others by a rename.
func (w *world) rewrite(path string, version int) {
	w.Helper()
	lines := []byte(strings.Repeat(fmt.Sprintf("version %d\n", version), 1+version*37%5000))
	text := append(lines, hashOf(lines)+"\n"...)
	if version%2 != 0 {
		w.must(os.WriteFile(path+".new", text, 0o644))
		w.must(os.Rename(path+".new", path))
		return
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	w.must(err)
	half := rand.N(len(text))
	_, first := f.Write(text[:half])
	time.Sleep(rand.N(100 * time.Millisecond)) // less than follow.Quiet
	_, second := f.Write(text[half:])
	w.must(errors.Join(first, second, f.Close()))
}

// publishedVersion returns the version in a share, as the host sees it.
func publishedVersion(auth string) (version int) {
	data, _ := os.ReadFile(filepath.Join(auth, "one"))
	_, _ = fmt.Sscanf(string(data), "version %d\n", &version)
	return version
}

// versionsReader is the witness in a sandbox that reads files in a tight loop.
type versionsReader struct {
	name string
	end  func() (looks, seen int)

	mu            sync.Mutex
	last, n, told int
}

func (r *versionsReader) sees(version int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last == version
}

// readVersions begins to read files in a sandbox. What is wrong fails the test.
func (w *world) readVersions(name string, files ...string) *versionsReader {
	w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*longest)
	args := append([]string{"exec", "-i", name, "/witness/reader", "-versions", "/etc/openshell/auth"}, files...)
	cmd := w.command(ctx, "openshell-vm", args...)
	in, err := cmd.StdinPipe()
	w.must(err)
	out, err := cmd.StdoutPipe()
	w.must(err)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	w.must(cmd.Start())
	r, read := &versionsReader{name: name}, make(chan error, 1)
	go func() { read <- r.read(w, out) }()
	ended := false
	r.end = func() (int, int) {
		ended = true
		w.must(in.Close())
		if err := errors.Join(<-read, cmd.Wait()); err != nil {
			w.Errorf("the witness in %s ended: %v (%s)", name, err, stderr.String())
		}
		cancel()
		return r.told, r.n
	}
	w.Cleanup(func() {
		if cancel(); !ended {
			<-read
			_ = cmd.Wait() // it was ended
		}
	})
	return r
}

// read takes what the witness tells until it ends.
func (r *versionsReader) read(w *world, out io.Reader) error {
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var line struct {
			Version, Looks int
			Error          string
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return fmt.Errorf("%w in %q", err, lines.Text())
		}
		r.mu.Lock()
		switch {
		case line.Error != "":
			w.Errorf("%s, reading %d: %s", r.name, line.Looks, line.Error)
		case line.Version < r.last:
			w.Errorf("%s, reading %d: version %d after %d", r.name, line.Looks, line.Version, r.last)
		case line.Version > r.last:
			r.n++
		}
		r.last, r.told = max(r.last, line.Version), line.Looks
		r.mu.Unlock()
	}
	return nil
}
