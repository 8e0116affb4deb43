package oauthfile

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"openshell-vm/gateway/sources/ask/asktest"
)

// endpoint is one for a test, with the file for it.
type endpoint struct {
	*testing.T
	*asktest.Endpoint
}

func newEndpoint(t *testing.T) *endpoint { return &endpoint{t, asktest.NewEndpoint(t)} }

// count is how often it was asked.
func (e *endpoint) count() int {
	all, _ := e.Asked()
	return all
}

// file writes a file with a refresh token.
func (e *endpoint) file(path, token string) string {
	e.Helper()
	e.must(os.WriteFile(path, []byte(e.File(token)), 0o640))
	e.must(os.Chmod(path, 0o640))
	return path
}

func (e *endpoint) must(err error) {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
}

func (e *endpoint) holds(path, token string) {
	e.Helper()
	data, err := os.ReadFile(path)
	info, err2 := os.Stat(path)
	if err != nil || err2 != nil || string(data) != e.File(token) || info.Mode().Perm() != 0o640 {
		e.Errorf("the file holds %q, %v %v; want %s", data, err, info, token)
	}
	if left, _ := filepath.Glob(filepath.Dir(path) + "/*.openshell-new"); len(left) > 0 {
		e.Errorf("left: %q", left)
	}
}

func read(_ context.Context, path string, _ int64) ([]byte, error) { return os.ReadFile(path) }

func (e *endpoint) makes(r *Refresher, want string) {
	e.Helper()
	files, expires, err := r.Make(e.Context())
	if err != nil || string(files[TokenFile]) != want || time.Until(expires).Round(time.Minute) != time.Minute {
		e.Errorf("%q until %v, %v; want %s", files, expires, err, want)
	}
}

func (e *endpoint) fails(r *Refresher, says string) {
	e.Helper()
	files, _, err := r.Make(e.Context())
	if err == nil || files != nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "planted") {
		e.Errorf("%q, %v; want %q", files, err, says)
	}
}

// TestRotation: each new refresh token gets into the file, also through a link, which stays one.
func TestRotation(t *testing.T) {
	e := newEndpoint(t)
	dir := t.TempDir()
	path := e.file(filepath.Join(dir, "o.json"), "planted-0")
	link := filepath.Join(t.TempDir(), "link")
	e.must(os.Symlink(path, link))
	r := New(link, read)
	for i := range 3 {
		e.makes(r, fmt.Sprint("access-", i+1))
		e.holds(path, fmt.Sprint("planted-", i+1))
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link: %v, %v", info, err)
	}
	e.makes(New(path, read), "access-4") // the next gateway
}

// TestOddKey: a key is known in any case, as encoding/json has it, and gets the new refresh token.
func TestOddKey(t *testing.T) {
	e := newEndpoint(t)
	path := filepath.Join(t.TempDir(), "file")
	text := strings.Replace(e.File("planted-0"), `"refresh_token" :`, `"refresh_token": "old", "Refresh_TOKEN" :`, 1)
	e.must(os.WriteFile(path, []byte(text), 0o600))
	r := New(path, read)
	e.makes(r, "access-1")
	e.makes(r, "access-2")
	data, err := os.ReadFile(path)
	if want := strings.Replace(text, "planted-0", "planted-2", 1); err != nil || string(data) != want {
		t.Errorf("%q, %v", data, err)
	}
}

// TestManyAtOnce: several refreshers of one file by two names take turns.
func TestManyAtOnce(t *testing.T) {
	e := newEndpoint(t)
	path := e.file(filepath.Join(t.TempDir(), "o.json"), "planted-0")
	link := path + ".link"
	e.must(os.Symlink(path, link))
	var all sync.WaitGroup
	for _, name := range []string{path, link, path, link} {
		all.Go(func() {
			if _, _, err := New(name, read).Make(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	e.holds(path, "planted-4")
}

// TestDied: what a gateway that was killed left is finished, or told.
func TestDied(t *testing.T) {
	for name, c := range map[string]struct {
		left  string // what is beside the file
		later bool   // the file was written after that
		want  string // the token that is asked with at first
		says  string
	}{
		"before the write":     {left: "", want: "planted-0", says: "a newer one may be lost"},
		"within the write":     {left: `{"client_id":"me","refr`, want: "planted-0", says: "a newer one may be lost"},
		"before the rename":    {left: "planted-5", want: "planted-5"},
		"and was logged in to": {left: "planted-4", later: true, want: "planted-0", says: codeGrant + "): log in"},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEndpoint(t)
			e.Turn(5)
			path := e.file(filepath.Join(t.TempDir(), "o.json"), "planted-0")
			text := c.left
			if strings.HasPrefix(text, "planted") {
				text = e.File(text)
			}
			e.must(os.WriteFile(pendingName(path), []byte(text), 0o640))
			e.must(os.Chmod(pendingName(path), 0o640))
			if c.later {
				at := time.Now().Add(time.Hour)
				e.must(os.Chtimes(path, at, at))
			}
			r := New(path, read)
			if c.says == "" {
				e.makes(r, "access-6")
				e.holds(path, "planted-6")
				return
			}
			e.fails(r, c.says)
			e.holds(path, c.want)
			asked := e.count()
			if e.fails(r, c.says); e.count() != asked {
				t.Error("it asked again with a token that was refused")
			}
			e.file(path, "planted-5")
			e.makes(r, "access-6")
		})
	}
}

// TestKept: a new refresh token that can't be written is kept, and nothing is asked before it is.
func TestKept(t *testing.T) {
	e := newEndpoint(t)
	path := e.file(filepath.Join(t.TempDir(), "o.json"), "planted-0")
	var limit syscall.Rlimit
	e.must(syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit))
	small := syscall.Rlimit{Cur: 1, Max: limit.Max} // Go ignores SIGXFSZ, so that a write fails
	r := New(path, read)
	e.Before(func() { e.must(syscall.Setrlimit(syscall.RLIMIT_FSIZE, &small)) })
	e.fails(r, "in memory only")
	e.fails(r, "in memory only")
	e.must(syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit))
	e.Before(func() {})
	e.holds(path, "planted-0")
	e.makes(r, "access-1")
	e.holds(path, "planted-1")
	if e.count() != 1 {
		t.Errorf("asked %d times", e.count())
	}
}

// TestNewLoginWins: who writes the file while the server is asked is not overwritten.
func TestNewLoginWins(t *testing.T) {
	e := newEndpoint(t)
	path := e.file(filepath.Join(t.TempDir(), "o.json"), "planted-0")
	e.Before(func() {
		e.file(path+".login", "planted-login")
		e.must(os.Rename(path+".login", path))
	})
	e.makes(New(path, read), "access-1")
	e.holds(path, "planted-login")
}

// TestEnding: a gateway that ends waits for an answer that is on its way.
func TestEnding(t *testing.T) {
	e := newEndpoint(t)
	path := e.file(filepath.Join(t.TempDir(), "o.json"), "planted-0")
	ctx, cancel := context.WithCancel(t.Context())
	e.Before(cancel)
	if _, _, err := New(path, read).Make(ctx); err != nil {
		t.Error(err)
	}
	e.holds(path, "planted-1")
}

func TestFaults(t *testing.T) {
	e := newEndpoint(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "o.json")
	says := func(answer string, status int) func(http.ResponseWriter) bool {
		return func(w http.ResponseWriter) bool {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Location", e.URL)
			w.WriteHeader(status)
			fmt.Fprint(w, answer)
			return true
		}
	}
	for name, c := range map[string]struct {
		file   string
		answer func(http.ResponseWriter) bool
		want   string
	}{
		"no JSON":       {file: "planted", want: "no JSON object"},
		"a list":        {file: "[]", want: "no JSON object"},
		"no endpoint":   {file: `{"client_id":"a","refresh_token":"planted"}`, want: "no token_endpoint"},
		"no token":      {file: `{"client_id":"a","token_endpoint":"https://planted.example"}`, want: "no refresh_token"},
		"no id":         {file: `{"refresh_token":"a","token_endpoint":"https://planted.example"}`, want: "no client_id"},
		"http":          {file: `{"client_id":"a","refresh_token":"planted","token_endpoint":"http://planted.example"}`, want: "only https"},
		"service":       {file: `{"type":"service_account","private_key":"planted"}`, want: "authorized_user"},
		"redirect":      {answer: says(`{}`, 307), want: "HTTP 307"},
		"server error":  {answer: says(`{"error":"planted"}`, 500), want: "HTTP 500"},
		"bad client":    {answer: says(`{"error":"invalid_client","error_description":"planted"}`, 401), want: "HTTP 401 invalid_client"},
		"broken":        {answer: says(`{"access_token":"planted`, 200), want: "can't be read"},
		"none":          {answer: says(`{"refresh_token":"planted-0"}`, 200), want: "can't be read"},
		"another kind":  {answer: says(`{"access_token":"planted","token_type":"DPoP"}`, 200), want: "no bearer"},
		"two lines":     {answer: says(`{"access_token":"planted\n1"}`, 200), want: "no token"},
		"endless":       {answer: says(`{"access_token":"`+strings.Repeat("planted", most)+`"}`, 200), want: "can't be read"},
		"no connection": {answer: func(http.ResponseWriter) bool { panic(http.ErrAbortHandler) }, want: "can't be read"},
	} {
		t.Run(name, func(t *testing.T) {
			e.Answer(c.answer)
			e.file(path, "planted-0")
			if c.file != "" {
				e.must(os.WriteFile(path, []byte(c.file), 0o600))
			}
			asked := e.count()
			e.fails(New(path, read), c.want)
			if c.answer != nil && e.count() != asked+1 {
				t.Errorf("asked %d times", e.count()-asked)
			}
		})
	}
	refuse := func(context.Context, string, int64) ([]byte, error) { return nil, errors.New("a sandbox can write it") }
	e.file(path, "planted-0")
	asked := e.count()
	if e.fails(New(path, refuse), "a sandbox can write it"); e.count() != asked {
		t.Error("a file that is refused was used")
	}
	e.fails(New(path+".none", read), "no such file")
}

// TestGoogle reads the file of Google's libraries.
func TestGoogle(t *testing.T) {
	f, err := parse([]byte(`{"type":"authorized_user","client_id":"a","client_secret":"b","refresh_token":"c","quota_project_id":"d"}`))
	if err != nil || f.Endpoint != googleEndpoint || f.Method != "client_secret_post" {
		t.Errorf("%+v, %v", f, err)
	}
}
