package ask

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// planted is in all that a server here sends, and in what is sent to it.
const planted = "planted0123456789"

// question is one of a client that reads at most 1,000 bytes. It sends a credential.
func question(t *testing.T, c *http.Client, raw string) (status int, body string, err error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, raw, strings.NewReader("refresh_token="+planted))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+planted)
	answer, err := c.Do(r)
	if err != nil {
		return 0, "", Reason(err)
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		return answer.StatusCode, "", Reason(err)
	}
	return answer.StatusCode, string(data), nil
}

// fails expects a reason, with nothing that was sent in it.
func fails(t *testing.T, err error, says string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "planted") || len(err.Error()) > 400 {
		t.Errorf("%v, want %q", err, says)
	}
}

func serve(t *testing.T, handle http.HandlerFunc) string {
	server := httptest.NewServer(handle)
	t.Cleanup(server.Close)
	return server.URL
}

// TestBounds: what a server sends is bounded by what it comes to, not by what it says of it.
func TestBounds(t *testing.T) {
	zipped := &bytes.Buffer{}
	z := gzip.NewWriter(zipped)
	_, _ = z.Write(make([]byte, 1<<20))
	_ = z.Close()
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		says   string // "" for an answer that is read
	}{
		"as much as may be": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat("x", 1000)) }, ""},
		"a byte more":       {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat("x", 1001)) }, "too large"},
		"endless": {func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := fmt.Fprint(w, planted); err != nil {
					return
				}
			}
		}, "too large"},
		"compressed": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(zipped.Bytes())
		}, "too large"},
		"an error's page": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadGateway)
			fmt.Fprint(w, strings.Repeat(planted, 1000))
		}, "too large"},
		"headers": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Planted", strings.Repeat("x", 128<<10))
		}, "can't be read"},
	} {
		t.Run(name, func(t *testing.T) {
			_, body, err := question(t, Client(1000), serve(t, c.answer))
			if c.says != "" {
				fails(t, err, c.says)
			} else if err != nil || len(body) != 1000 {
				t.Errorf("%d bytes, %v", len(body), err)
			}
		})
	}
}

// TestRedirects: none is followed, wherever it leads, and its answer is what the caller gets.
func TestRedirects(t *testing.T) {
	asked := make(chan string, 100)
	elsewhere := serve(t, func(_ http.ResponseWriter, r *http.Request) { asked <- r.URL.Path })
	for _, status := range []int{301, 302, 303, 307, 308} {
		at := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/token" {
				asked <- r.URL.Path
			}
			w.Header().Set("Location", map[bool]string{true: "/self", false: elsewhere}[status == 307])
			w.WriteHeader(status)
		})
		if got, _, err := question(t, Client(1000), at+"/token"); got != status || err != nil {
			t.Errorf("%d: %d, %v", status, got, err)
		}
	}
	if len(asked) > 0 {
		t.Errorf("a redirect was followed to %s", <-asked)
	}
}

// TestDeadline: it counts for the whole question, however much of the answer is there.
func TestDeadline(t *testing.T) {
	if got := Client(1).Timeout; got != Deadline {
		t.Errorf("the client's deadline is %v", got)
	}
	for name, handle := range map[string]http.HandlerFunc{
		"silent": func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // only then it is seen that the client has gone
			<-r.Context().Done()
		},
		"halfway": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, planted)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		},
		"drops": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			for r.Context().Err() == nil {
				fmt.Fprint(w, "x")
				_ = http.NewResponseController(w).Flush()
				time.Sleep(time.Millisecond)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := Client(1 << 30)
			c.Timeout = 200 * time.Millisecond
			_, _, err := question(t, c, serve(t, handle))
			fails(t, err, "not answer in time")
		})
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0") // accepts nobody, so that no handshake ends
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	r, _ := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+listener.Addr().String(), nil)
	_, err = Client(1).Do(r)
	fails(t, Reason(err), "not answer in time")
}

// TestTLS: who is asked over TLS proves who it is, by TLS 1.2 at least. What its certificate says
// is nothing that an error may hold.
func TestTLS(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*tls.Config)
		host    string
		unknown bool
		says    string
	}{
		"good":           {},
		"TLS 1.2":        {change: func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }},
		"TLS 1.1":        {change: func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }, says: "can't be"},
		"unknown":        {unknown: true, says: "certificate can't be trusted: nobody"},
		"another host's": {host: "localhost", says: "certificate can't be trusted: it is for another host"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, planted) }))
			server.Config.ErrorLog = log.New(io.Discard, "", 0)
			server.TLS = &tls.Config{}
			if c.change != nil {
				c.change(server.TLS)
			}
			server.StartTLS()
			defer server.Close()
			client := Client(1000)
			if !c.unknown {
				pool := x509.NewCertPool()
				pool.AddCert(server.Certificate())
				client.Transport.(limited).RoundTripper.(*http.Transport).TLSClientConfig.RootCAs = pool
			}
			at := server.URL
			if c.host != "" {
				at = strings.Replace(at, "127.0.0.1", c.host, 1)
			}
			_, body, err := question(t, client, at)
			if c.says != "" {
				fails(t, err, c.says)
				if strings.Contains(err.Error(), "example.com") || strings.Contains(err.Error(), "Acme") {
					t.Errorf("%v quotes the certificate", err)
				}
			} else if err != nil || body != planted {
				t.Errorf("%q, %v", body, err)
			}
		})
	}
}

// TestBroken: what is no answer at all has a reason that quotes none of it.
func TestBroken(t *testing.T) {
	for name, sends := range map[string]string{
		"nothing":     "",
		"no HTTP":     planted + "\r\n\r\n",
		"a status":    "HTTP/1.1 " + planted + "\r\n\r\n",
		"a header":    "HTTP/1.1 200 OK\r\n" + planted + "\r\n\r\n",
		"a length":    "HTTP/1.1 200 OK\r\nContent-Length: " + planted + "\r\n\r\n",
		"chunks":      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + planted + "\r\n",
		"an encoding": "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 17\r\n\r\n" + planted,
		"cut off":     "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + planted,
	} {
		t.Run(name, func(t *testing.T) {
			at := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.WriteString(conn, sends)
				conn.Close()
			})
			_, _, err := question(t, Client(1000), at)
			fails(t, err, "can't be read")
		})
	}
	_, _, err := question(t, Client(1000), "http://127.0.0.1:1")
	fails(t, err, "can't be reached")
}

// TestNothingStaysOpen: a question leaves no connection behind.
func TestNothingStaysOpen(t *testing.T) {
	from := map[string]bool{}
	at := serve(t, func(_ http.ResponseWriter, r *http.Request) { from[r.RemoteAddr] = true })
	client := Client(1000)
	for range 3 {
		if _, _, err := question(t, client, at); err != nil {
			t.Error(err)
		}
	}
	if len(from) != 3 {
		t.Errorf("%d connections for 3 questions", len(from))
	}
}

// TestProxy asks through what the environment names: others than the loopback, and without a word
// of the proxy's password. The environment is read once, so that a process of its own asks.
func TestProxy(t *testing.T) {
	if raw := os.Getenv("ASK_TEST_URL"); raw != "" {
		_, body, err := question(t, Client(1000), raw)
		fmt.Printf("read %q, %v\n", body, err)
		return
	}
	asked := make(chan string, 10)
	proxy := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Method + " " + r.Host + " " + r.Header.Get("Proxy-Authorization") + r.Header.Get("Authorization")
		http.Error(w, planted, http.StatusForbidden)
	})
	direct := serve(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "direct") })
	proxy = strings.Replace(proxy, "//", "//me:"+planted+"@", 1)
	for name, c := range map[string]struct{ url, proxy, no, says, asks string }{
		"https":           {"https://token.example/t", proxy, "", "can't be read", "CONNECT token.example:443 Basic "},
		"the loopback":    {direct, proxy, "", `read "direct", <nil>`, ""},
		"by name":         {strings.Replace(direct, "127.0.0.1", "localhost", 1), proxy, "", `read "direct", <nil>`, ""},
		"NO_PROXY":        {"https://127.0.0.1:1/t", proxy, "127.0.0.1", "can't be reached", ""},
		"a proxy is away": {"https://token.example/t", "http://me:" + planted + "@127.0.0.1:1", "", "can't be reached", ""},
	} {
		cmd := exec.Command("/proc/self/exe", "-test.run", "^TestProxy$")
		cmd.Env = []string{"ASK_TEST_URL=" + c.url, "HTTPS_PROXY=" + c.proxy, "HTTP_PROXY=" + c.proxy, "NO_PROXY=" + c.no}
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), c.says) || strings.Contains(string(out), "planted") {
			t.Errorf("%s: %v, %s; want %q", name, err, out, c.says)
		}
		got := ""
		if len(asked) > 0 {
			got = <-asked
		}
		if !strings.HasPrefix(got, c.asks) || c.asks == "" && got != "" || strings.Contains(got, "Bearer") {
			t.Errorf("%s: the proxy was asked %q, want %q", name, got, c.asks)
		}
	}
}

func TestURL(t *testing.T) {
	for raw, says := range map[string]string{
		"https://example.com/token":            "",
		"https://example.com":                  "",
		"http://127.0.0.1:8080/token":          "",
		"http://127.9.9.9/token":               "",
		"http://[::1]:8080/token":              "",
		"http://localhost/token":               "",
		"http://example.com/token":             "only https",
		"http://localhost.example.com/token":   "only https",
		"http://127.0.0.1.example.com/token":   "only https",
		"http://0.0.0.0/token":                 "only https",
		"http://10.0.0.1/token":                "only https",
		"https://me:planted@example.com":       "a user",
		"https://me@example.com":               "a user",
		"https://example.com/?token=planted":   "a query",
		"https://example.com/#planted":         "fragment",
		"":                                     "no URL",
		"example.com/token":                    "no URL",
		"/token":                               "no URL",
		"file:///etc/passwd":                   "no URL",
		"ftp://example.com":                    "no URL",
		"https:///token":                       "no URL",
		"https://example.com/planted\x7f":      "no URL",
		"https://exa mple.com":                 "no URL",
		"https://" + strings.Repeat("x", 2048): "no URL",
	} {
		u, err := URL(raw)
		switch {
		case says != "":
			fails(t, err, says)
		case err != nil || u.String() != raw:
			t.Errorf("%q: %v, %v", raw, u, err)
		}
	}
}

func TestToken(t *testing.T) {
	for token, good := range map[string]bool{
		"ghs_abc.DEF-1~+/=": true, strings.Repeat("x", mostToken): true,
		"": false, " x": false, "x y": false, "x\n": false, "x\ty": false, "x\x00": false, "x\x7f": false, "tökén": false, "\xff": false,
		strings.Repeat("x", mostToken+1): false,
	} {
		if err := Token(token); (err == nil) != good {
			t.Errorf("%.20q: %v", token, err)
		} else if err != nil && token != "" && strings.Contains(err.Error(), token) && len(token) > 3 {
			t.Errorf("%v quotes it", err)
		}
	}
}

// TestReason: an error of any kind has a reason.
func TestReason(t *testing.T) {
	for says, err := range map[string]error{
		"can't be trusted: it has expired": &url.Error{Op: "Post", URL: planted, Err: &tls.CertificateVerificationError{
			Err: x509.CertificateInvalidError{Reason: x509.Expired, Detail: planted}}},
		"can't be trusted: it is not valid": &tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.TooManyIntermediates, Detail: planted}},
		"not answer in time":                &url.Error{Op: "Post", URL: planted, Err: context.DeadlineExceeded},
		"can't be read":                     &url.Error{Op: "Post", URL: planted, Err: fmt.Errorf("planted")},
	} {
		fails(t, Reason(err), says)
	}
}
