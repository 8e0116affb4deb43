package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// gateway stands in for a sandbox's socket of the gateway. It gives tokens for any audience that
// begins with "https://ok" or "ok", to who sends the token that is in the file.
type gateway struct {
	*testing.T
	socket, file string

	mu    sync.Mutex
	asked []url.Values
	stale int // so many requests are refused as those of an expired token
	away  int // so many are refused since a cluster does not answer
}

func newGateway(t *testing.T) *gateway {
	t.Helper()
	dir, err := os.MkdirTemp("", "") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	g := &gateway{T: t, socket: filepath.Join(dir, "s"), file: filepath.Join(dir, "sandbox.jwt")}
	g.own("own")
	t.Setenv(envURL, "unix://"+g.socket)
	t.Setenv(envToken, g.file)
	return g
}

func (g *gateway) own(token string) {
	g.Helper()
	if err := os.WriteFile(g.file, []byte(token+"\n"), 0o600); err != nil {
		g.Fatal(err)
	}
}

// begin listens until the test ends.
func (g *gateway) begin() {
	listener, err := net.Listen("unix", g.socket)
	if err != nil {
		g.Error(err)
		return
	}
	server := &http.Server{Handler: g}
	go server.Serve(listener)
	g.Cleanup(func() { server.Close() })
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	refuse := func(code, why string) {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"error":%q,"error_description":%q}`, code, why)
	}
	if r.Method != http.MethodPost || r.URL.Path != "/v1/token" || r.ParseForm() != nil {
		refuse("invalid_request", "it is no exchange")
		return
	}
	g.asked = append(g.asked, r.PostForm)
	audience := r.PostForm.Get("audience")
	switch {
	case g.away > 0:
		g.away--
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintf(w, `{"error":"temporarily_unavailable","error_description":"the cluster does not answer"}`)
	case g.stale > 0:
		g.stale--
		g.own("newer")
		refuse("invalid_request", "the subject_token is refused: expired")
	case audience == "junk":
		fmt.Fprint(w, "junk")
	case audience == "broken":
		w.WriteHeader(http.StatusInternalServerError)
	case !strings.HasPrefix(strings.TrimPrefix(audience, "https://"), "ok"):
		refuse("invalid_target", "not allowed")
	default:
		fmt.Fprintf(w, `{"access_token":"made","issued_token_type":%q,"token_type":"Bearer","expires_in":900}`, typeJWT)
	}
}

// call runs the command.
func (g *gateway) call(in string, args ...string) (code int, out, problems string) {
	g.Helper()
	var o, p bytes.Buffer
	ctx, cancel := context.WithTimeout(g.Context(), time.Minute)
	defer cancel()
	code = run(ctx, args, strings.NewReader(in), &o, &p)
	return code, o.String(), p.String()
}

// TestForms: each form is what the program reads that asks for it.
func TestForms(t *testing.T) {
	g := newGateway(t)
	g.begin()
	before := time.Now().Add(900 * time.Second).Truncate(time.Second)
	for _, c := range []struct {
		args string
		in   string
		want string // with EXPIRES for a time and SECONDS for it in Unix seconds
	}{
		{"ok", "", "made\n"},
		{"--format plain ok", "", "made\n"},
		{"--format json ok", "", `{"expiresAt":"EXPIRES","expiresIn":900,"token":"made"}` + "\n"},
		{"--format kubernetes ok", "", `{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential",` +
			`"status":{"expirationTimestamp":"EXPIRES","token":"made"}}` + "\n"},
		{"--format git https://ok get", "capability[]=authtype\nprotocol=https\nhost=ok\npath=a/b\n\n",
			"username=openshell\npassword=made\npassword_expiry_utc=SECONDS\n"},
		{"--format git https://ok get", "protocol=https\nhost=OK:443\nusername=me\n", "username=me\npassword=made\npassword_expiry_utc=SECONDS\n"},
		{"--format git https://ok store", "protocol=https\nhost=ok\npassword=x\n", ""},
		{"--format git https://ok erase", "protocol=https\nhost=ok\n", ""},
		{"--format docker https://ok get", "https://ok/v1/\n", `{"Secret":"made","ServerURL":"https://ok/v1/","Username":"openshell"}` + "\n"},
		{"--format docker https://ok get", "ok", `{"Secret":"made","ServerURL":"ok","Username":"openshell"}` + "\n"},
		{"--format docker --host r.example:5000 ok get", "r.example:5000",
			`{"Secret":"made","ServerURL":"r.example:5000","Username":"openshell"}` + "\n"},
		{"--format docker https://ok list", "", "{}\n"},
		{"--format docker https://ok store", "{}", ""},
	} {
		code, out, problems := g.call(c.in, strings.Fields(c.args)...)
		if code != 0 || problems != "" {
			t.Errorf("%s: %d, %s", c.args, code, problems)
		}
		if !matches(c.want, out, before, time.Now().Add(900*time.Second)) {
			t.Errorf("%s: %q, not %q", c.args, out, c.want)
		}
	}
	form := g.asked[0]
	if len(form) != 4 || form.Get("grant_type") != exchange || form.Get("subject_token") != "own" || form.Get("subject_token_type") != typeJWT {
		t.Errorf("asked with %v", form)
	}
}

// matches reports whether out is want with some second of those between.
func matches(want, out string, from, to time.Time) bool {
	for at := from; !at.After(to); at = at.Add(time.Second) {
		with := strings.NewReplacer("EXPIRES", at.UTC().Format(time.RFC3339), "SECONDS", fmt.Sprint(at.Unix()))
		if with.Replace(want) == out {
			return true
		}
	}
	return false
}

// TestOtherHosts: git and docker get a token for one host. The gateway is not even asked for
// another one.
func TestOtherHosts(t *testing.T) {
	g := newGateway(t)
	g.begin()
	for _, c := range []struct{ args, in, says string }{
		{"--format git https://ok get", "protocol=https\nhost=evil.example\n", `"evil.example"`},
		{"--format git https://ok get", "protocol=https\nhost=ok.evil.example\n", `"ok.evil.example"`},
		{"--format git https://ok get", "protocol=https\nhost=ok:8443\n", `"ok:8443"`},
		{"--format git https://ok:8443 get", "protocol=https\nhost=ok\n", `which is for "ok:8443"`},
		{"--format git https://ok get", "protocol=https\nhost=ok\nhost=evil.example\n", `"host" more than once`},
		{"--format git https://ok get", "protocol=https\nhost=evil.example\nhost=ok\n", `"host" more than once`},
		{"--format git https://ok get", "protocol=http\nhost=ok\nprotocol=https\n", `"protocol" more than once`},
		{"--format git https://ok get", "protocol=https\nhost=ok\nwwwauth[]=" + strings.Repeat("x", 1<<20) + "\nhost=evil.example\n", "can't be read"},
		{"--format git https://ok get", "protocol=https\nhost=ok\nusername=me\x00\n", "can't be read"},
		{"--format git https://ok get", "protocol=https\nhost=ok\r\n", "can't be read"},
		{"--format git https://ok get", "protocol=https\nhost=ok\x1b[2J\n", `"ok\x1b[2J"`},
		{"--format git https://ok get", "protocol=https\nhost=ok/../evil.example\n", "evil.example"},
		{"--format git https://ok get", "protocol=https\nhost=ok@evil.example\n", "evil.example"},
		{"--format docker https://ok get", "https://ok" + strings.Repeat(" ", 5000) + "evil.example", "without TLS"},
		{"--format docker https://ok get", "https://ok\n.evil.example", "it gets no token"},
		{"--format git https://ok get", "protocol=https\n", `the host ""`},
		{"--format git https://ok get", "", "without TLS"},
		{"--format git https://ok get", "protocol=http\nhost=ok\n", "without TLS"},
		{"--format git https://ok get", "protocol=ssh\nhost=ok\n", "without TLS"},
		{"--format git ok get", "protocol=https\nhost=ok\n", "--host"},
		{"--format git http://ok get", "protocol=https\nhost=ok\n", "--host"},
		{"--format git https:// get", "protocol=https\nhost=\n", "--host"},
		{"--format git --host a https://ok get", "protocol=https\nhost=ok\n", `which is for "a"`},
		{"--format docker https://ok get", "https://index.docker.io/v1/", `"index.docker.io"`},
		{"--format docker https://ok get", "evil.example/ok", `"evil.example"`},
		{"--format docker https://ok get", "https://ok@evil.example", "it gets no token"},
		{"--format docker https://ok get", "https://user@ok", "it gets no token"},
		{"--format docker https://ok get", "http://ok", "without TLS"},
		{"--format docker https://ok get", "", "it gets no token"},
		{"--format docker ok get", "ok", "--host"},
	} {
		code, out, problems := g.call(c.in, strings.Fields(c.args)...)
		want := ""
		if strings.Contains(c.args, "docker") {
			want = notFound + "\n"
		}
		if code != 1 || out != want || !strings.Contains(problems, c.says) {
			t.Errorf("%s %q: %d, %q, %q", c.args, c.in, code, out, problems)
		}
	}
	if len(g.asked) != 0 {
		t.Errorf("asked for %v", g.asked)
	}
}

// TestRefusals: what can't be had is told in one line, which quotes no token.
func TestRefusals(t *testing.T) {
	g := newGateway(t)
	g.begin()
	for _, c := range []struct {
		args, says string
		code       int
	}{
		{"", "no audience", 2},
		{"--format", "usage:", 2},
		{"--nope ok", "usage:", 2},
		{"--format x ok", "use aws, docker, git, json, kubernetes, plain", 2},
		{"other", "the gateway refuses: not allowed (invalid_target)", 1},
		{"--format json other", "not allowed", 1},
		{"--format kubernetes other", "not allowed", 1},
		{"broken", "500 Internal Server Error", 1},
		{"--timeout 300ms junk", "the gateway", 1},
	} {
		code, out, problems := g.call("", strings.Fields(c.args)...)
		if code != c.code || out != "" || !strings.Contains(problems, c.says) || strings.Contains(problems, "own\n") {
			t.Errorf("%s: %d, %q, %q", c.args, code, out, problems)
		}
	}
	if code, out, _ := g.call("", "--help"); code != 0 || !strings.Contains(out, `credential.https://HOST.helper "/run/openshell/openshell-token `) {
		t.Errorf("help: %d, %s", code, out)
	}
	t.Setenv(envURL, "http://127.0.0.1")
	if code, _, problems := g.call("", "ok"); code != 1 || !strings.Contains(problems, "has to be unix:///PATH or https://HOST") {
		t.Errorf("%d, %s", code, problems)
	}
}

// TestGatewayAway: a gateway that is away is waited for, as during its restart. Its first answer
// may be that the token has expired meanwhile.
func TestGatewayAway(t *testing.T) {
	g := newGateway(t)
	g.stale = 1
	if code, _, problems := g.call("", "--timeout", "300ms", "ok"); code != 1 || !strings.Contains(problems, "the gateway does not answer") {
		t.Errorf("without one: %d, %s", code, problems)
	}
	back := time.AfterFunc(2*pause, g.begin)
	defer back.Stop()
	if code, out, problems := g.call("", "--timeout", "1m", "ok"); code != 0 || out != "made\n" {
		t.Errorf("%d, %q, %s", code, out, problems)
	}
}

// TestTooBusy: who is told to come again does, and not at once. A proxy in front of a gateway that is
// away, and a listener with too many requests, do not say it in the gateway's words.
func TestTooBusy(t *testing.T) {
	for _, status := range []int{429, 502, 503, 504} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			var asked []time.Time
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if asked = append(asked, time.Now()); len(asked) > 1 {
					fmt.Fprint(w, `{"access_token":"made","expires_in":900}`)
					return
				}
				if status == 429 {
					w.Header().Set("Retry-After", "1")
				}
				http.Error(w, "<html>too many requests", status)
			}))
			defer server.Close()
			own := filepath.Join(t.TempDir(), "own")
			if err := os.WriteFile(own, []byte("own"), 0o600); err != nil {
				t.Fatal(err)
			}
			t.Setenv(envToken, own)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			a, err := (&place{server.URL, server.Client()}).ask(ctx, "ok")
			if err != nil || a.Token != "made" || len(asked) != 2 || status == 429 && asked[1].Sub(asked[0]) < time.Second {
				t.Errorf("%+v, %v, asked at %v", a, err, asked)
			}
		})
	}
}

// TestExpiredToken: a token that may have been read just before it was replaced is read again,
// once.
func TestExpiredToken(t *testing.T) {
	g := newGateway(t)
	g.begin()
	g.stale = 1
	if code, out, problems := g.call("", "ok"); code != 0 || out != "made\n" {
		t.Errorf("%d, %q, %s", code, out, problems)
	}
	if n := len(g.asked); n != 2 || g.asked[0].Get("subject_token") != "own" || g.asked[1].Get("subject_token") != "newer" {
		t.Errorf("asked %d times: %v", n, g.asked)
	}
	g.asked, g.stale = nil, 5
	if code, out, problems := g.call("", "ok"); code != 1 || out != "" || !strings.Contains(problems, "expired") || len(g.asked) != 2 {
		t.Errorf("%d, %q, %s after %d requests", code, out, problems, len(g.asked))
	}
}

// TestAWS: STS is asked with the token for the audience, and what it gives is printed in the form
// of a credential process. Nothing follows where STS redirects to.
func TestAWS(t *testing.T) {
	g := newGateway(t)
	g.begin()
	t.Setenv("AWS_ROLE_ARN", "")
	if code, _, problems := g.call("", "--format", "aws", "ok"); code != 1 || !strings.Contains(problems, "AWS_ROLE_ARN") {
		t.Errorf("without a role: %d, %s", code, problems)
	}
	var asked []url.Values
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		asked = append(asked, r.PostForm)
		switch r.PostForm.Get("RoleArn") {
		case "arn:good":
			fmt.Fprint(w, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult>
<Credentials><SessionToken>session</SessionToken><SecretAccessKey>secret</SecretAccessKey><Expiration>2030-01-02T03:04:05Z</Expiration>
<AccessKeyId>id</AccessKeyId></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`)
		case "arn:moved":
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		case "arn:empty":
			fmt.Fprint(w, "<AssumeRoleWithWebIdentityResponse/>")
		default:
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, `<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>Not authorized</Message></Error></ErrorResponse>`)
		}
	}))
	t.Cleanup(sts.Close)
	t.Setenv("AWS_ENDPOINT_URL_STS", sts.URL)
	t.Setenv("AWS_ROLE_SESSION_NAME", "")

	t.Setenv("AWS_ROLE_ARN", "arn:good")
	code, out, problems := g.call("", "--format", "aws", "ok")
	var got map[string]any
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != 0 || len(got) != 5 || got["Version"] != 1.0 || got["AccessKeyId"] != "id" ||
		got["SecretAccessKey"] != "secret" || got["SessionToken"] != "session" || got["Expiration"] != "2030-01-02T03:04:05Z" {
		t.Errorf("%d, %s, %s", code, out, problems)
	}
	if form := asked[0]; form.Get("Action") != "AssumeRoleWithWebIdentity" || form.Get("Version") != "2011-06-15" ||
		form.Get("WebIdentityToken") != "made" || form.Get("RoleSessionName") != "openshell" {
		t.Errorf("asked with %v", form)
	}
	for role, says := range map[string]string{"arn:other": "STS refuses: Not authorized (AccessDenied, 403", "arn:empty": "holds no credentials",
		"arn:moved": "307"} {
		asked = nil
		t.Setenv("AWS_ROLE_ARN", role)
		code, out, problems := g.call("", "--format", "aws", "ok")
		if code != 1 || out != "" || !strings.Contains(problems, says) || strings.Contains(problems, "made") || len(asked) != 1 {
			t.Errorf("%s: %d, %q, %q after %d requests", role, code, out, problems, len(asked))
		}
	}
	sts.Close()
	if code, _, problems := g.call("", "--format", "aws", "ok"); code != 1 || !strings.Contains(problems, "STS does not answer") {
		t.Errorf("without STS: %d, %s", code, problems)
	}
}

// TestEndpoint: the region's own, then the global one.
func TestEndpoint(t *testing.T) {
	for _, c := range []struct{ url, region, usual, want string }{
		{"http://a/", "r", "d", "http://a/"},
		{"", "r", "d", "https://sts.r.amazonaws.com/"},
		{"", "", "d", "https://sts.d.amazonaws.com/"},
		{"", "", "", "https://sts.amazonaws.com/"},
	} {
		t.Setenv("AWS_ENDPOINT_URL_STS", c.url)
		t.Setenv("AWS_REGION", c.region)
		t.Setenv("AWS_DEFAULT_REGION", c.usual)
		if got := endpoint(); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}
