package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"
)

// hostile has the program ask a gateway that answers with what answer writes.
func hostile(t testing.TB, answer http.HandlerFunc) {
	t.Helper()
	dir, err := os.MkdirTemp("", "token")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	own := filepath.Join(dir, "sandbox.jwt")
	if err := os.WriteFile(own, []byte("own"), 0o600); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: answer}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	t.Setenv(envURL, "unix://"+filepath.Join(dir, "s"))
	t.Setenv(envToken, own)
}

func called(t testing.TB, in string, args ...string) (code int, out, problems string) {
	t.Helper()
	var o, p bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	code = run(ctx, args, strings.NewReader(in), &o, &p)
	return code, o.String(), p.String()
}

// oneLine reports whether text is one line of a bounded length that a terminal shows as it is.
func oneLine(text string) bool {
	body := strings.TrimSuffix(text, "\n")
	return len(body) < 3000 && body+"\n" == text && !strings.ContainsFunc(body, func(r rune) bool { return !unicode.IsPrint(r) })
}

// TestHostileGateway: whatever answers in the gateway's place, nothing but a token is printed as
// one, a problem is one line that no terminal minds, and no other host is asked.
func TestHostileGateway(t *testing.T) {
	var elsewhere atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		elsewhere.Add(1)
		fmt.Fprint(w, `{"access_token":"made","expires_in":900}`)
	}))
	defer other.Close()
	const escapes = "\x1b[2J\x1b]0;owned\x07\u202e\u009b31m"
	for name, answer := range map[string]http.HandlerFunc{
		"huge": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"access_token":"`)
			for range 10_000 {
				if _, err := w.Write(bytes.Repeat([]byte("A"), 10_000)); err != nil {
					return
				}
			}
		},
		"a huge refusal": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(400)
			fmt.Fprintf(w, `{"error":"invalid_target","error_description":%q}`, strings.Repeat("no", 20_000))
		},
		"escapes in a refusal": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(400)
			fmt.Fprint(w, `{"error":"invalid_target","error_description":"\u001b[2J\u001b]0;owned\u0007\u202e\n\u009b31m"}`)
		},
		"escapes in a code": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(400)
			fmt.Fprint(w, `{"error":"\u001b[2J\r\n","error_description":"`+"\x1b"+`"}`)
		},
		"escapes in a token":  text(`{"access_token":"\u001b[2Jmade","expires_in":900}`),
		"two lines of token":  text(`{"access_token":"made\nhost=evil.example","expires_in":900}`),
		"a blank in a token":  text(`{"access_token":"made x","expires_in":900}`),
		"no token":            text(`{"expires_in":900}`),
		"a token of a number": text(`{"access_token":5,"expires_in":900}`),
		"an array":            text(`["made"]`),
		"null":                text(`null`),
		"a page":              text("<html>" + escapes),
		"no time":             text(`{"access_token":"made","expires_in":"soon"}`),
		"a time before":       text(`{"access_token":"made","expires_in":-9223372036854775808}`),
		"a time that wraps":   text(`{"access_token":"made","expires_in":9223372036854775807}`),
		"two answers":         text(`{"access_token":"made","expires_in":1}{"access_token":"other"}`),
		"moved": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL+"/v1/token", http.StatusTemporaryRedirect)
		},
		"moved for good": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL, http.StatusPermanentRedirect)
		},
		"wants a password": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", "Negotiate")
			w.WriteHeader(http.StatusUnauthorized)
		},
		"broken off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, `{"access_token":"made"`)
		},
		"a status that hurts": func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				fmt.Fprint(conn, "HTTP/1.1 500 "+escapes+"\r\nContent-Length: 0\r\n\r\n")
				conn.Close()
			}
		},
		"no HTTP": func(w http.ResponseWriter, _ *http.Request) {
			if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
				fmt.Fprint(conn, escapes+strings.Repeat("x", 1<<20))
				conn.Close()
			}
		},
		"one that says nothing": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"one that never ends": func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				_, _ = io.WriteString(w, " ")
				_ = http.NewResponseController(w).Flush()
				time.Sleep(time.Millisecond)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			hostile(t, answer)
			for _, c := range []struct{ form, in, more string }{{"plain", "", ""}, {"git", "protocol=https\nhost=ok\n", "get"}} {
				args := strings.Fields("--timeout 100ms --format " + c.form + " https://ok " + c.more)
				code, out, problems := called(t, c.in, args...)
				if code != 1 || out != "" || !oneLine(problems) {
					t.Errorf("%s: %d, %q, %.300q", c.form, code, out, problems)
				}
			}
		})
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("another host was asked %d times", n)
	}
}

func text(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) }
}

// TestHugeFile: a token's file without end is not read to it.
func TestHugeFile(t *testing.T) {
	hostile(t, text(`{"access_token":"made","expires_in":900}`))
	t.Setenv(envToken, "/dev/zero")
	if code, out, problems := called(t, "", "ok"); code != 0 || out != "made\n" {
		t.Errorf("%d, %q, %s", code, out, problems)
	}
}

// FuzzGateway: of no answer anything is taken for a token that is none, and no problem moves a
// cursor.
func FuzzGateway(f *testing.F) {
	for _, seed := range []string{`{"access_token":"made","expires_in":900}`, `{"error":"x","error_description":"\u001b"}`, "", "[]", "{"} {
		f.Add(uint(0), []byte(seed))
		f.Add(uint(200), []byte(seed))
	}
	var status atomic.Int64
	var body atomic.Pointer[[]byte]
	hostile(f, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(int(status.Load()))
		_, _ = w.Write(*body.Load())
	})
	g, err := find()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, code uint, answer []byte) {
		status.Store(int64(200 + code%400))
		body.Store(&answer)
		a, err := g.once(t.Context(), "ok")
		switch {
		case err != nil && !oneLine(line(err.Error())+"\n"):
			t.Errorf("%q", err)
		case err == nil && (strings.ContainsFunc(a.Token, func(r rune) bool { return r <= ' ' || r > '~' }) || a.Token == ""):
			t.Errorf("a token: %q", a.Token)
		case err == nil && (a.expires.Before(time.Now().Add(-time.Minute)) || a.expires.Year() > 2100):
			t.Errorf("it expires at %v", a.expires)
		}
	})
}

// FuzzGit: git gets a token for one host with TLS only, whatever it was made to ask for.
func FuzzGit(f *testing.F) {
	for _, seed := range []string{"protocol=https\nhost=ok\n", "protocol=https\nhost=ok\nhost=evil\n", "protocol=http\nhost=ok\n",
		"protocol=https\nhost=OK:443\nusername=a=b\nwwwauth[]=x\nwwwauth[]=y\n", "=\n", "host\n\x00"} {
		f.Add(seed)
	}
	hostile(f, text(`{"access_token":"made","expires_in":900}`))
	f.Fuzz(func(t *testing.T, in string) {
		code, out, problems := called(t, in, "--format", "git", "https://ok", "get")
		if code != 0 {
			if out != "" || !oneLine(problems) {
				t.Errorf("%q: %q, %q", in, out, problems)
			}
			return
		}
		hosts, tls := 0, false
		for said := range strings.Lines(in) {
			said = strings.TrimSuffix(said, "\n")
			if strings.HasPrefix(said, "host=") {
				hosts++
				if h := strings.ToLower(said[5:]); h != "ok" && h != "ok:443" {
					t.Errorf("%q gets a token", in)
				}
			}
			tls = tls || said == "protocol=https"
		}
		if hosts != 1 || !tls || strings.Count(out, "\n") != 3 || strings.Count(out, "password=made\n") != 1 {
			t.Errorf("%q: %q", in, out)
		}
	})
}

// FuzzDocker: so does docker.
func FuzzDocker(f *testing.F) {
	for _, seed := range []string{"ok", "https://ok/v1/", "https://ok@evil", "OK:443", "ok\nevil", "ok\\evil", "//ok", "https://ok%2eevil"} {
		f.Add(seed)
	}
	hostile(f, text(`{"access_token":"made","expires_in":900}`))
	f.Fuzz(func(t *testing.T, in string) {
		code, out, problems := called(t, in, "--format", "docker", "https://ok", "get")
		if code != 0 {
			if out != notFound+"\n" || !oneLine(problems) {
				t.Errorf("%q: %q, %q", in, out, problems)
			}
			return
		}
		rest := strings.TrimPrefix(strings.ToLower(strings.TrimSpace(in)), "https://")
		if at := strings.IndexAny(rest, "/?#"); at >= 0 {
			rest = rest[:at]
		}
		if rest != "ok" && rest != "ok:443" {
			t.Errorf("%q gets a token: %s", in, out)
		}
	})
}
