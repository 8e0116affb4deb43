package main

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestMain is also the program itself: what a process trusts is read once.
func TestMain(m *testing.M) {
	if os.Getenv("OPENSHELL_TEST_PROGRAM") == "1" {
		main()
	}
	os.Exit(m.Run())
}

// TestInACluster: a pod asks by https. It trusts whom SSL_CERT_FILE names, and goes to no other host.
func TestInACluster(t *testing.T) {
	g := newGateway(t)
	mux := http.NewServeMux()
	mux.Handle("/", g)
	mux.Handle("/below/v1/token", http.StripPrefix("/below", g))
	mux.Handle("/moved/v1/token", http.RedirectHandler("/v1/token", http.StatusTemporaryRedirect))
	server := httptest.NewTLSServer(mux)
	t.Cleanup(server.Close)
	ca := filepath.Join(filepath.Dir(g.file), "ca.crt")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	ask := func(url, trusted string) (stdout, stderr string, code int) {
		t.Helper()
		cmd := exec.Command(os.Args[0], "--timeout", "10s", "https://ok")
		cmd.Env = append(os.Environ(), "OPENSHELL_TEST_PROGRAM=1", envURL+"="+url, "SSL_CERT_FILE="+trusted, "HTTPS_PROXY=", "https_proxy=")
		var o, p strings.Builder
		cmd.Stdout, cmd.Stderr = &o, &p
		_ = cmd.Run()
		return o.String(), p.String(), cmd.ProcessState.ExitCode()
	}
	for _, url := range []string{server.URL, server.URL + "/", server.URL + "/below"} {
		if out, problems, code := ask(url, ca); code != 0 || out != "made\n" {
			t.Errorf("%s: %d, %q, %s", url, code, out, problems)
		}
	}
	asked := len(g.asked)
	for _, c := range []struct{ url, trusted, says string }{
		{server.URL + "/moved", ca, "307 Temporary Redirect"},
		{server.URL + "?a=b", ca, "https://HOST"},
		{"https://", ca, "https://HOST"},
		{"https://user@127.0.0.1", ca, "https://HOST"},
		{strings.Replace(server.URL, "https", "http", 1), ca, "https://HOST"},
	} {
		out, problems, code := ask(c.url, c.trusted)
		if code != 1 || out != "" || !strings.Contains(problems, c.says) || strings.Contains(problems, "own\n") {
			t.Errorf("%s: %d, %q, %q", c.url, code, out, problems)
		}
	}
	for what, dir := range map[string]string{"a stranger's certificate": t.TempDir(), "an image without certificates": "/dev/null"} {
		cmd := exec.Command(os.Args[0], "--timeout", "300ms", "https://ok")
		cmd.Env = append(os.Environ(), "OPENSHELL_TEST_PROGRAM=1", envURL+"="+server.URL, "SSL_CERT_FILE=/dev/null", "SSL_CERT_DIR="+dir)
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "SSL_CERT_FILE names the certificates to trust") {
			t.Errorf("%s: %v, %s", what, err, out)
		}
	}
	if len(g.asked) != asked {
		t.Errorf("%d were asked who should not have been", len(g.asked)-asked)
	}
}

// TestClusterAway: a gateway that can't ask its cluster now is asked again.
func TestClusterAway(t *testing.T) {
	g := newGateway(t)
	g.begin()
	g.away = 3
	if code, out, problems := g.call("", "ok"); code != 0 || out != "made\n" || len(g.asked) != 4 {
		t.Errorf("%d, %q, %s after %d requests", code, out, problems, len(g.asked))
	}
	g.away = 1 << 20
	if code, out, problems := g.call("", "--timeout", "500ms", "ok"); code != 1 || out != "" || !strings.Contains(problems, "the cluster does not answer") {
		t.Errorf("%d, %q, %s", code, out, problems)
	}
}
