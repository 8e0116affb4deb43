package listener

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"openshell-vm/internal/discovery"
)

const patience = time.Minute

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// authority is a certificate authority of the test's own.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{pool: x509.NewCertPool()}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(100 * 24 * time.Hour)}
	a.key = newKey(t)
	a.cert = sign(t, template, template, &a.key.PublicKey, a.key)
	a.pool.AddCert(a.cert)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t *testing.T, template, parent *x509.Certificate, public *ecdsa.PublicKey, by *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, by)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// issue writes a certificate for 127.0.0.1 and its key, each by one rename.
func (a *authority) issue(t *testing.T, dir string, serial int64, life time.Duration) {
	t.Helper()
	key := newKey(t)
	cert := sign(t, &x509.Certificate{SerialNumber: big.NewInt(serial), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(life)}, a.cert, &key.PublicKey, a.key)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "cert.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
	put(t, filepath.Join(dir, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func put(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

const issuerURL = "https://tokens.example/sub/dir"

func documents(time.Time) (discovery.Documents, error) {
	return discovery.Make(issuerURL, []byte(`{"keys":[{"kid":"one","kty":"OKP","alg":"EdDSA"}]}`), 15*time.Minute)
}

// start runs a listener and waits until it listens.
func start(t *testing.T, s Settings, handler http.Handler) *Listener {
	t.Helper()
	l := New(Options{Documents: discovery.Handler{Documents: documents, Log: slog.New(slog.DiscardHandler)},
		Issuer: func() string { return issuerURL }, Handler: handler, Log: slog.New(slog.DiscardHandler)})
	l.Configure(s)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { l.Run(ctx); close(ended) }()
	t.Cleanup(func() { cancel(); <-ended })
	return l
}

func listens(t *testing.T, l *Listener) string {
	t.Helper()
	until(t, "it listens: "+l.Status(), func() bool { return l.Addr() != "" })
	return l.Addr()
}

func get(t *testing.T, client *http.Client, method, url string) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

// TestAnswers: what is served, at the root and below the issuer's own path.
func TestAnswers(t *testing.T) {
	t.Parallel()
	l := start(t, Settings{Address: "127.0.0.1:0"}, nil)
	base := "http://" + listens(t, l)
	if l.Status() != base {
		t.Error(l.Status())
	}
	for _, c := range []struct {
		method, path string
		code         int
		kind, body   string
	}{
		{"GET", "/.well-known/openid-configuration", 200, "application/json", `"issuer": "https://tokens.example/sub/dir"`},
		{"GET", "/sub/dir/.well-known/openid-configuration", 200, "application/json",
			`"jwks_uri": "https://tokens.example/sub/dir/.well-known/jwks.json"`},
		{"HEAD", "/.well-known/openid-configuration", 200, "application/json", ""},
		{"GET", "/sub/dir/.well-known/jwks.json", 200, "application/jwk-set+json", `"kid":"one"`},
		{"GET", "/healthz", 200, "text/plain; charset=utf-8", "ok"},
		{"POST", "/.well-known/jwks.json", 405, "text/plain; charset=utf-8", "only GET and HEAD"},
		{"GET", "/", 404, "text/plain; charset=utf-8", "not found"},
		{"GET", "/v1/keys", 404, "text/plain; charset=utf-8", "not found"},
		{"GET", "/sub/dirx/.well-known/jwks.json", 404, "text/plain; charset=utf-8", "not found"},
	} {
		response, body := get(t, http.DefaultClient, c.method, base+c.path)
		if response.StatusCode != c.code || response.Header.Get("Content-Type") != c.kind || !strings.Contains(body, c.body) {
			t.Errorf("%s %s: %d, %s, %s", c.method, c.path, response.StatusCode, response.Header, body)
		}
		if c.code == 200 && strings.Contains(c.path, "well-known") && response.Header.Get("Cache-Control") != "public, max-age=600" {
			t.Errorf("%s: %s", c.path, response.Header)
		}
	}
}

// TestHandler: what else is asked for goes to the handler, with its path as it is and a bounded
// body.
func TestHandler(t *testing.T) {
	t.Parallel()
	l := start(t, Settings{Address: "127.0.0.1:0"}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprintln(w, r.URL.Path, n, err)
	}))
	base := "http://" + listens(t, l)
	response, err := http.Post(base+"/v1/token", "text/plain", strings.NewReader(strings.Repeat("x", 2*maxBody)))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	if want := fmt.Sprintf("/v1/token %d http: request body too large\n", maxBody); string(body) != want {
		t.Errorf("%s", body)
	}
}

// TestCertificates: a new pair is served without a restart, and a bad one is not.
func TestCertificates(t *testing.T) {
	t.Parallel()
	dir, ca := t.TempDir(), newAuthority(t)
	s := Settings{"127.0.0.1:0", filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
	l := start(t, s, nil)
	until(t, "the missing files are told", func() bool { return strings.Contains(l.Status(), "no such file") })
	ca.issue(t, dir, 10, 50*24*time.Hour)
	addr := listens(t, l)
	serial := func() int64 {
		time.Sleep(20 * time.Millisecond) // an address gets so many connections a second
		conn, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: ca.pool})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	if serial() != 10 || l.Status() != "https://"+addr {
		t.Errorf("%d, %s", serial(), l.Status())
	}
	ca.issue(t, dir, 11, 24*time.Hour)
	until(t, "the new certificate is served", func() bool { return serial() == 11 })
	if s := l.Status(); !strings.Contains(s, "expires at") {
		t.Errorf("it expires tomorrow: %s", s)
	}
	put(t, filepath.Join(dir, "key.pem"), []byte("no key"))
	until(t, "the bad key is told", func() bool { return serial() == 11 && strings.Contains(l.Status(), "the certificate before is served") })
	if err := os.Remove(filepath.Join(dir, "cert.pem")); err != nil {
		t.Fatal(err)
	}
	until(t, "the missing certificate is told", func() bool { return serial() == 11 && strings.Contains(l.Status(), "no such file") })
	ca.issue(t, dir, 12, -time.Minute)
	until(t, "the expired certificate is told", func() bool { return serial() == 11 && strings.Contains(l.Status(), "has expired") })
	ca.issue(t, dir, 13, 50*24*time.Hour)
	until(t, "the mended pair is served", func() bool { return serial() == 13 && l.Status() == "https://"+addr })
	if response, _ := get(t, http.DefaultClient, "GET", "http://"+addr+"/healthz"); response.StatusCode != http.StatusBadRequest {
		t.Errorf("in clear: %d", response.StatusCode)
	}
	if _, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: ca.pool, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
}

// TestPortTaken: a port that can't be had is told, and taken once it is free. A change of
// settings ends the listener before.
func TestPortTaken(t *testing.T) {
	t.Parallel()
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := start(t, Settings{Address: other.Addr().String()}, nil)
	until(t, "the taken port is told", func() bool { return strings.Contains(l.Status(), "address already in use; it is tried again") })
	other.Close()
	if addr := listens(t, l); addr != other.Addr().String() || l.Status() != "http://"+addr {
		t.Errorf("%s, %s", addr, l.Status())
	}
	l.Configure(Settings{})
	until(t, "it is off", func() bool { return l.Addr() == "" && l.Status() == "" && !l.On() })
	if conn, err := net.Dial("tcp", other.Addr().String()); err == nil {
		conn.Close()
		t.Error("it still listens")
	}
	l.Configure(Settings{Address: "127.0.0.1:0"})
	listens(t, l)
}

// TestStalled: clients that stop in a header or a body are cut off, and others are served meanwhile and after.
func TestStalled(t *testing.T) {
	t.Parallel()
	l := start(t, Settings{Address: "127.0.0.1:0"}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != nil {
			http.Error(w, "too slow", http.StatusRequestTimeout)
		}
	}))
	addr := listens(t, l)
	var stalled []net.Conn
	for i := range addressConnections / 2 {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprint(conn, []string{"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ", "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nslow"}[i%2])
		stalled = append(stalled, conn)
	}
	if response, _ := get(t, http.DefaultClient, "GET", "http://"+addr+"/healthz"); response.StatusCode != 200 {
		t.Errorf("while others stall: %d", response.StatusCode)
	}
	for _, conn := range stalled {
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err == nil && !strings.Contains(line, " 408 ") && !strings.Contains(line, " 400 ") {
			t.Fatalf("a stalled client got %q", line)
		} else if e, ok := err.(net.Error); ok && e.Timeout() {
			t.Fatal("a stalled client is not cut off")
		}
	}
}

// TestFlood: requests beyond the rate are refused, not queued.
func TestFlood(t *testing.T) {
	t.Parallel()
	l := start(t, Settings{Address: "127.0.0.1:0"}, nil)
	base := "http://" + listens(t, l)
	l.requests.SetBurst(5)
	l.requests.SetLimit(0)
	refused := 0
	for range 500 {
		response, _ := get(t, http.DefaultClient, "GET", base+"/healthz")
		if response.StatusCode == http.StatusTooManyRequests && response.Header.Get("Retry-After") != "" {
			refused++
			break
		}
	}
	if refused == 0 {
		t.Error("every request is answered")
	}
}

// TestEachAnswerIsPaced: whatever the server answers without the handler ends the connection,
// or has a place in the rate.
func TestEachAnswerIsPaced(t *testing.T) {
	t.Parallel()
	l := start(t, Settings{Address: "127.0.0.1:0"}, nil)
	addr := listens(t, l)
	l.requests.SetBurst(0)
	l.requests.SetLimit(0)
	for _, request := range []string{
		"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /healthz HTTP/1.1\r\n\r\n",
		"GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"GET /healthz HTTP/1.1\r\nHost: x\r\nExpect: nothing\r\n\r\n",
		"GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: odd\r\n\r\n",
		"GET /healthz HTTP/1.1\r\nHost: x\r\nBad Name: x\r\n\r\n",
		"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
		"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 2*maxHeader) + "\r\n\r\n",
		"nonsense\r\n\r\n",
	} {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(patience))
		fmt.Fprint(conn, request+request)
		text, err := io.ReadAll(conn)
		if e, ok := err.(net.Error); ok && e.Timeout() || strings.Count(string(text), "HTTP/1.1 ") > 1 {
			t.Errorf("%.60q: the connection goes on: %q, %v", request, text, err)
		}
		if strings.HasPrefix(string(text), "HTTP/1.1 200") {
			t.Errorf("%.60q is answered beyond the rate", request)
		}
	}
}

// TestBadChange: settings that can't be served leave those before in force, are told, and are
// served once they can be. A port that is in use by the listener itself can be kept.
func TestBadChange(t *testing.T) {
	t.Parallel()
	dir, ca := t.TempDir(), newAuthority(t)
	ca.issue(t, dir, 10, 50*24*time.Hour)
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	l := start(t, Settings{"127.0.0.1:0", cert, key}, nil)
	addr := listens(t, l)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: ca.pool}}}
	serves := func(when, url string) {
		t.Helper()
		if response, err := client.Get(url + "/healthz"); err != nil {
			t.Errorf("%s: %v", when, err)
		} else {
			response.Body.Close()
		}
	}
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	missing := filepath.Join(dir, "missing.pem")
	for _, c := range []struct {
		s    Settings
		told string
	}{
		{Settings{addr, missing, key}, "no such file"},
		{Settings{"127.0.0.1:0", cert, cert}, "don't fit"},
		{Settings{other.Addr().String(), cert, key}, "address already in use"},
	} {
		l.Configure(c.s)
		until(t, c.told+" is told", func() bool {
			s := l.Status()
			return strings.HasPrefix(s, "https://"+addr+"; ") && strings.Contains(s, c.told)
		})
		serves(c.told, "https://"+addr)
	}
	other.Close()
	until(t, "the other port is listened on", func() bool { return l.Status() == "https://"+other.Addr().String() })
	serves("moved", l.Status())
	addr = l.Addr()
	l.Configure(Settings{Address: addr})
	until(t, "it is in clear on the same port", func() bool { return l.Status() == "http://"+addr })
	serves("in clear", l.Status())
	l.Configure(Settings{addr, missing, key})
	until(t, "the missing file is told", func() bool { return strings.Contains(l.Status(), "no such file") })
	l.Configure(Settings{Address: addr})
	until(t, "nothing is wrong with the settings before", func() bool { return l.Status() == "http://"+addr })
}
