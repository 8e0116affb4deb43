package gateway

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/oauth"
	"openshell-vm/internal/peer"
)

// TestForgedRequests: a good token in a bad request gets nothing, and leaves one line in the
// audit log at most, which holds no part of it and no control bytes.
func TestForgedRequests(t *testing.T) {
	w := newWorld(t, newFake("fake"))
	w.run()
	w.create(api.CreateRequest{Name: "box", Tokens: api.Tokens{Audiences: []string{"a"}}})
	w.start("box")
	good, id := w.tokenOf("box"), w.get("box").ID
	with := func(name, value string) url.Values {
		form := url.Values{"grant_type": {oauth.GrantExchange}, "subject_token": {good}, "subject_token_type": {oauth.TypeJWT}, "audience": {"a"}}
		form.Set(name, value)
		return form
	}
	twice := with("x", "")
	twice.Add("audience", "b")
	named := with("x", "")
	named[good] = []string{"1", "2"}
	const urlencoded = "application/x-www-form-urlencoded"
	for _, c := range []struct {
		name, method, path, kind, body string
		bearers                        []string
		status                         int
		says                           string
		lines                          int
	}{
		{"a good one", "POST", "/v1/token", urlencoded, with("x", "").Encode(), nil, 200, "access_token", 1},
		{"two headers", "GET", "/v1/whoami", "", "", []string{"Bearer " + good, "Bearer x"}, 400, "given more than once", 1},
		{"two headers alike", "GET", "/v1/whoami", "", "", []string{"Bearer " + good, "Bearer " + good}, 400, "given more than once", 1},
		{"two tokens", "GET", "/v1/whoami", "", "", []string{"Bearer " + good + ", Bearer " + good}, 401, "not a token", 1},
		{"another scheme", "GET", "/v1/whoami", "", "", []string{"Basic " + good}, 401, "no_token", 0},
		{"a token in the address", "GET", "/v1/whoami?access_token=" + good, "", "", nil, 401, "no_token", 0},
		{"a token in the path", "GET", "/v1/whoami/" + good, "", "", nil, 404, "", 0},
		{"all in the address", "POST", "/v1/token?" + with("x", "").Encode(), urlencoded, "", nil, 400, "unsupported_grant_type", 1},
		{"introspection in the address", "POST", "/v1/introspect?token=" + good, urlencoded, "", nil, 400, "no token to look at", 1},
		{"by GET", "GET", "/v1/token?" + with("x", "").Encode(), "", "", nil, 405, "", 0},
		{"a parameter twice", "POST", "/v1/token", urlencoded, twice.Encode(), nil, 400, "more than once", 1},
		{"a token for a name, twice", "POST", "/v1/token", urlencoded, named.Encode(), nil, 400, "more than once", 1},
		{"a token for an audience", "POST", "/v1/token", urlencoded, with("audience", good).Encode(), nil, 400, "invalid_target", 1},
		{"a line for an audience", "POST", "/v1/token", urlencoded, with("audience", "\x1b[2J\r\n{\"what\":\"publish\"}\x00\u202e\u009b").Encode(), nil, 400, "invalid_target", 1},
		{"a token for a type", "POST", "/v1/token", urlencoded, with("subject_token_type", good).Encode(), nil, 400, "subject_token_type", 1},
		{"an actor", "POST", "/v1/token", urlencoded, with("actor_token", good).Encode(), nil, 400, "no actors", 1},
		{"JSON", "POST", "/v1/token", "application/json", `{"subject_token":"` + good + `"}`, nil, 400, "urlencoded", 1},
		{"many parts", "POST", "/v1/token", "multipart/form-data; boundary=x", "--x--", nil, 400, "urlencoded", 1},
		{"no kind", "POST", "/v1/token", "", with("x", "").Encode(), nil, 400, "urlencoded", 1},
		{"a semicolon", "POST", "/v1/token", urlencoded, with("x", "").Encode() + ";audience=b", nil, 400, "can't be read", 1},
		{"broken escapes", "POST", "/v1/token", urlencoded, "subject_token=%zz", nil, 400, "can't be read", 1},
		{"too much", "POST", "/v1/token", urlencoded, with("x", strings.Repeat("x", oauth.MaxBody)).Encode(), nil, 400, "too large", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, chunked := range []bool{false, true} {
				w := w.as(t)
				base, lines := w.asking(oauth.Caller{Sandbox: id, Way: "socket"})
				var body io.Reader = strings.NewReader(c.body)
				if chunked {
					body = io.MultiReader(body) // of a length that is not known
				}
				request, err := http.NewRequestWithContext(t.Context(), c.method, base+c.path, body)
				w.must(err)
				request.Header["Authorization"] = c.bearers
				if c.kind != "" {
					request.Header.Set("Content-Type", c.kind)
				}
				response, err := http.DefaultClient.Do(request)
				w.must(err)
				text, err := io.ReadAll(response.Body)
				response.Body.Close()
				w.must(err)
				noted := lines()
				if response.StatusCode != c.status || !strings.Contains(string(text), c.says) || len(noted) != c.lines {
					t.Errorf("chunked %v: %d, %s, %d lines: %+v", chunked, response.StatusCode, text, len(noted), noted)
				}
				if leaks(fmt.Sprint(noted), good) || c.status != 200 && leaks(string(text), good) {
					t.Errorf("a part of the token is told: %s, %+v", text, noted)
				}
			}
		})
	}
}

// TestForgedConnections: what is no request, or might be two, is not answered as if it were
// one, at a sandbox's socket and at the listener, and who asks next is answered.
func TestForgedConnections(t *testing.T) {
	w := newWorld(t, newFake("fake"))
	addr := freeAddress(t)
	w.configure("listen = %q\n", addr)
	w.run()
	w.create(api.CreateRequest{Name: "box"})
	w.start("box")
	dir := w.gateway.fleet.All()[0].Rec().DoorDir()
	w.eventually("it listens", func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	const second = "GET /v1/whoami HTTP/1.1\r\nHost: g\r\n\r\n"
	for way, dial := range map[string]func() (net.Conn, error){
		"socket":   func() (net.Conn, error) { return peer.DialIn(context.Background(), dir, "gateway.sock") },
		"listener": func() (net.Conn, error) { return net.Dial("tcp", addr) },
	} {
		for _, c := range []struct{ name, text, answer string }{ // answer is how the one answer begins; "" for none
			{"two lengths", "POST /v1/introspect HTTP/1.1\r\nHost: g\r\nContent-Length: 5\r\nContent-Length: 50\r\n\r\nhello" + second, "HTTP/1.1 400"},
			{"lengths in one field", "POST /v1/introspect HTTP/1.1\r\nHost: g\r\nContent-Length: 5, 50\r\n\r\nhello" + second, "HTTP/1.1 400"},
			{"a length with a sign", "POST /v1/introspect HTTP/1.1\r\nHost: g\r\nContent-Length: +5\r\n\r\nhello" + second, "HTTP/1.1 400"},
			{"an odd coding", "POST /v1/introspect HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + second, "HTTP/1.1 501"},
			{"a coding twice", "POST /v1/introspect HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + second, "HTTP/1.1 501"},
			{"a blank before the colon", "POST /v1/introspect HTTP/1.1\r\nHost: g\r\nContent-Length : 5\r\n\r\nhello" + second, "HTTP/1.1 400"},
			{"a zero byte", "GET /v1/whoami HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer \x00\r\n\r\n" + second, "HTTP/1.1 400"},
			{"two hosts", "GET /v1/whoami HTTP/1.1\r\nHost: g\r\nHost: h\r\n\r\n" + second, "HTTP/1.1 400"},
			{"HTTP/2 by prior knowledge", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + second, "HTTP/1.1 "},
			{"a huge header", "GET /v1/whoami HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer " + strings.Repeat("x", 1<<20) + "\r\n\r\n" + second, "HTTP/1.1 431"},
			{"no HTTP", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n" + second, "HTTP/1.1 400"},
		} {
			t.Run(way+"/"+c.name, func(t *testing.T) {
				conn, err := dial()
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(patience))
				_, _ = io.WriteString(conn, c.text) // it may be closed before all is sent
				text, _ := io.ReadAll(conn)         // a reset is an end, too
				if n := strings.Count(string(text), "HTTP/1.1 "); n > 1 || !strings.HasPrefix(string(text), c.answer) && len(text) > 0 {
					t.Errorf("%d answers: %q", n, text)
				}
			})
		}
		conn, err := dial()
		w.must(err)
		_ = conn.SetDeadline(time.Now().Add(patience))
		_, err = io.WriteString(conn, "GET /v1/whoami HTTP/1.1\r\nHost: g\r\nConnection: close\r\nAuthorization: Bearer "+w.tokenOf("box")+"\r\n\r\n")
		w.must(err)
		text, err := io.ReadAll(conn)
		conn.Close()
		if err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 200") {
			t.Errorf("%s: who asks after that: %q, %v", way, text, err)
		}
	}
}
