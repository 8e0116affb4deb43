package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"openshell-vm/drivers/vm/images/imagetest"
	"openshell-vm/drivers/vm/images/store"
	"openshell-vm/internal/vocab"
)

// TestMain lets the test binary play openshell-image.
func TestMain(m *testing.M) {
	if os.Getenv("PLAY_OPENSHELL_IMAGE") == "" {
		os.Exit(m.Run())
	}
	var q Request
	out := json.NewEncoder(os.Stdout)
	if err := json.NewDecoder(os.Stdin).Decode(&q); err != nil {
		os.Exit(2)
	}
	if q.Reference == "crash" {
		fmt.Fprintln(os.Stderr, "fatal error: \x1b[31mout of memory")
		os.Exit(2)
	}
	if q.Reference == "lie" {
		_ = out.Encode(Report{Progress: &vocab.PullProgress{Status: "\x1b[2JPulling\n", Layer: "\x1b]0;x\a"}})
		_ = out.Encode(Report{Image: &store.Image{ID: q.ID, Bytes: 1}, Block: "/etc/shadow"})
		return
	}
	if q.Reference == "endless" {
		fmt.Print(`{"image":{"config":"`)
		for text := strings.Repeat("x", 1<<20); ; {
			if _, err := os.Stdout.WriteString(text); err != nil {
				os.Exit(2)
			}
		}
	}
	image, err := Pull(context.Background(), q, os.Getenv, func(p vocab.PullProgress) { _ = out.Encode(Report{Progress: &p}) })
	if err != nil {
		_ = out.Encode(Report{Problem: &Problem{Message: err.Error(), Hint: "a hint"}})
		return
	}
	_ = out.Encode(Report{Image: &image, Block: image.Block})
}

// slow is in front of a registry. It holds a large blob up in its middle, until it may go on.
type slow struct {
	cutter
	half  chan struct{} // closed once half of it was sent
	goOn  chan struct{}
	first sync.Once
}

func (s *slow) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		blob := &recorder{header: http.Header{}}
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") {
			next.ServeHTTP(w, r)
			return
		}
		asked := r.Header.Get("Range")
		r.Header.Del("Range")
		next.ServeHTTP(blob, r)
		data := blob.body.Bytes()
		if len(data) < 100_000 {
			_, _ = w.Write(data)
			return
		}
		s.mu.Lock()
		s.asked = append(s.asked, asked)
		s.mu.Unlock()
		if asked != "" {
			from, _ := strconv.Atoi(strings.Trim(asked, "bytes=-"))
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(data)-1, len(data)))
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(data[from:])
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		_, _ = w.Write(data[:len(data)/2])
		_ = http.NewResponseController(w).Flush()
		s.first.Do(func() { close(s.half) })
		<-s.goOn
	})
}

// TestKilledInTheMiddle: a pull that was killed goes on where it was.
func TestKilledInTheMiddle(t *testing.T) {
	s := &slow{half: make(chan struct{}), goOn: make(chan struct{})}
	registry := imagetest.Serve(t, s.wrap)
	t.Cleanup(func() { close(s.goOn) })
	text := noise(1_000_000)
	q := Request{Dir: t.TempDir(), Reference: registry.Push(imagetest.Image(t, v1.Config{}, imagetest.NewLayer(t).File("f", text)), "x:1")}
	first := play(t)
	in, err := first.StdinPipe()
	if err == nil {
		err = first.Start()
	}
	if err == nil {
		err = json.NewEncoder(in).Encode(q)
	}
	if err != nil {
		t.Fatal(err)
	}
	<-s.half
	parts := filepath.Join(q.Dir, "blobs", "*.part")
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if files, _ := filepath.Glob(parts); len(files) == 1 {
			if info, err := os.Stat(files[0]); err == nil && info.Size() > 100_000 {
				break
			}
		}
		if time.Now().After(end) {
			t.Fatal("no part comes")
		}
	}
	_ = first.Process.Kill()
	_ = first.Wait()
	got, err := Client{Program: program(t)}.Pull(t.Context(), q, nil)
	if err != nil {
		t.Fatal(err)
	}
	if content(t, got, "f") != text {
		t.Error("it holds something else")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.asked) != 2 || s.asked[0] != "" || !strings.HasPrefix(s.asked[1], "bytes=") || s.asked[1] < "bytes=1" {
		t.Errorf("the layer was asked for as %q", s.asked)
	}
	if left, _ := filepath.Glob(filepath.Join(q.Dir, ".new-*")); len(left) > 0 {
		t.Errorf("%q is left", left)
	}
}

// program is this test binary, as a program without arguments.
func program(t *testing.T) string {
	t.Helper()
	t.Setenv("PLAY_OPENSHELL_IMAGE", "1")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return self
}

func play(t *testing.T) *exec.Cmd { return exec.Command(program(t)) }

// TestProcesses: several processes pull one image at once, and one of them fetches it.
func TestProcesses(t *testing.T) {
	c := &cutter{ranges: true}
	registry := imagetest.Serve(t, c.wrap)
	q := Request{Dir: t.TempDir(), Reference: registry.Push(imagetest.Image(t, v1.Config{}, imagetest.NewLayer(t).File("f", noise(2_000_000))), "x:1")}
	self := program(t)
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			var said []vocab.PullProgress
			got, err := Client{Program: self}.Pull(t.Context(), q, func(p vocab.PullProgress) { said = append(said, p) })
			if err != nil || len(content(t, got, "f")) < 2_000_000 || len(said) == 0 {
				t.Error(err, said)
			}
		})
	}
	all.Wait()
	if sent := c.sum(); sent > 3_000_000 {
		t.Errorf("%d bytes were sent", sent)
	}
}

// TestHostileProgram: a program that a layer has taken over shows no other file as an image,
// and neither its reports nor its silence do harm.
func TestHostileProgram(t *testing.T) {
	self, dir := program(t), t.TempDir()
	registry := imagetest.Serve(t, nil)
	real, err := Client{Program: self}.Pull(t.Context(), Request{Dir: dir, Reference: registry.Push(small(t, "x"), "x:1")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var said vocab.PullProgress
	got, err := Client{Program: self}.Pull(t.Context(), Request{Dir: dir, Reference: "lie", ID: real.ID}, func(p vocab.PullProgress) { said = p })
	if err != nil || got.Block != real.Block || got.Bytes != real.Bytes {
		t.Errorf("%+v, %v", got, err)
	}
	if strings.ContainsAny(said.Status+said.Layer, "\x1b\n\a") {
		t.Errorf("%+v", said)
	}
	if err := errors.Join(os.Remove(real.Block), os.Symlink("/etc/passwd", real.Block)); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{"lie", "endless"} {
		if got, err := (Client{Program: self}).Pull(t.Context(), Request{Dir: dir, Reference: ref, ID: real.ID}, nil); err == nil {
			t.Errorf("%s: %+v", ref, got)
		}
	}
}

// TestProgramFails: what goes wrong in the program is one harmless line.
func TestProgramFails(t *testing.T) {
	self := program(t)
	for program, want := range map[string]string{"/nowhere/openshell-image": "no such file", self: "fatal error: out of memory"} {
		_, err := Client{Program: program}.Pull(t.Context(), Request{Dir: t.TempDir(), Reference: "crash"}, nil)
		if err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), "\uFFFD[31m", ""), want) || strings.ContainsAny(err.Error(), "\n\x1b") {
			t.Errorf("%q, not %q", err, want)
		}
	}
	_, err := Client{Program: self}.Pull(t.Context(), Request{Dir: t.TempDir(), Reference: "oci:/nowhere"}, nil)
	if err == nil || !strings.Contains(err.Error(), "use the image oci:/nowhere: ") {
		t.Error(err)
	}
}
