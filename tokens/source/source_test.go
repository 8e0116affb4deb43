package source

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/oauth2"
)

var _ oauth2.TokenSource = File("")

// written is a file with a token, and writes another one in its place by a rename.
func written(t *testing.T, token string) (File, func(string)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sandbox.jwt")
	write := func(token string) {
		t.Helper()
		if err := errors.Join(os.WriteFile(path+".new", []byte(token), 0o600), os.Rename(path+".new", path)); err != nil {
			t.Fatal(err)
		}
	}
	write(token)
	return File(path), write
}

func jwt(payload string) string {
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".sig"
}

// TestToken: each call has what the file holds then, with the expiry that it says.
func TestToken(t *testing.T) {
	file, write := written(t, jwt(`{"exp":1900000000}`)+"\n")
	got, err := file.Token()
	if err != nil || got.AccessToken != jwt(`{"exp":1900000000}`) || got.Type() != "Bearer" || !got.Expiry.Equal(time.Unix(1900000000, 0)) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, odd := range []string{"opaque", jwt(`{}`), jwt(`{"exp":"soon"}`), "a.!.c"} {
		write(odd)
		if got, err := file.Token(); err != nil || got.AccessToken != odd || !got.Expiry.IsZero() {
			t.Errorf("%q: %+v, %v", odd, got, err)
		}
	}
	write(" \n")
	if _, err := file.Token(); !errors.Is(err, ErrEmpty) {
		t.Error(err)
	}
	if _, err := File(string(file) + ".no").Token(); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// TestWhere: without a name it is the file that the environment names.
func TestWhere(t *testing.T) {
	file, _ := written(t, "mine")
	t.Setenv(Env, string(file))
	meta, err := File("").GetRequestMetadata(t.Context(), "https://x")
	if err != nil || meta["authorization"] != "Bearer mine" || !File("").RequireTransportSecurity() {
		t.Error(meta, err)
	}
	t.Setenv(Env, "")
	if got := File("").path(); got != UsualFile {
		t.Errorf("%q", got)
	}
}

// TestRetried: a request that meets a rotation is sent once more, with its whole body; one that is
// refused for good is not.
func TestRetried(t *testing.T) {
	for name, c := range map[string]struct {
		renew bool // the file has another token at the second look
		want  int
		tries int64
	}{
		"renewed meanwhile": {true, 200, 2},
		"refused":           {false, 401, 1},
	} {
		t.Run(name, func(t *testing.T) {
			file, write := written(t, "old")
			var tries atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				tries.Add(1)
				body, _ := io.ReadAll(r.Body)
				if c.renew {
					write("new")
				}
				if r.Header.Get("Authorization") != "Bearer new" || string(body) != "body" {
					http.Error(w, "no", http.StatusUnauthorized)
				}
			}))
			defer server.Close()
			client := &http.Client{Transport: Transport{File: file}}
			request, err := http.NewRequestWithContext(t.Context(), "POST", server.URL, strings.NewReader("body"))
			if err != nil {
				t.Fatal(err)
			}
			response, err := client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if response.StatusCode != c.want || tries.Load() != c.tries {
				t.Errorf("%d after %d tries", response.StatusCode, tries.Load())
			}
			if request.Header.Get("Authorization") != "" {
				t.Error("the caller's request was changed")
			}
		})
	}
}

// TestNotTwice: a body that can't be had again is sent once only.
func TestNotTwice(t *testing.T) {
	file, write := written(t, "old")
	tries := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tries++
		write("new")
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer server.Close()
	response, err := (&http.Client{Transport: Transport{File: file}}).Post(server.URL, "", io.MultiReader(strings.NewReader("once")))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != 401 || tries != 1 {
		t.Errorf("%d after %d tries", response.StatusCode, tries)
	}
}

// TestNoToken: without a token no request is sent, and the error says nothing of any.
func TestNoToken(t *testing.T) {
	client := &http.Client{Transport: Transport{File: File(filepath.Join(t.TempDir(), "none"))}}
	_, err := client.Get("http://127.0.0.1:1")
	if !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// A program in a sandbox calls a server with the token as it is at each call.
func ExampleTransport() {
	dir, err := os.MkdirTemp("", "share")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "api.example.com.jwt")
	if err := os.WriteFile(file, []byte("fresh"), 0o600); err != nil {
		panic(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header.Get("Authorization"))
	}))
	defer server.Close()

	client := &http.Client{Transport: Transport{File: File(file)}}
	response, err := client.Get(server.URL)
	if err != nil {
		panic(err)
	}
	defer response.Body.Close()
	_, _ = io.Copy(os.Stdout, response.Body)
	// Output: Bearer fresh
}
