package asktest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// Endpoint is a token endpoint that rotates: only the newest refresh token is good. Its tokens are
// numbered; Access and Refresh begin them. Its methods may be called at any time; its fields are
// set before it is first asked.
type Endpoint struct {
	URL             string
	Access, Refresh string
	Secret          string        // of the client "me"
	Life            time.Duration // of an access token

	mu      sync.Mutex
	turn    int
	asked   int
	refused int
	before  func()
	answer  func(w http.ResponseWriter) bool
}

// NewEndpoint runs one until the test ends. Its first refresh token has the number 0.
func NewEndpoint(t testing.TB) *Endpoint {
	e := &Endpoint{Access: "access-", Refresh: "planted-", Secret: "planted-client", Life: time.Minute, before: func() {}}
	server := httptest.NewServer(e)
	t.Cleanup(server.Close)
	e.URL = server.URL + "/token"
	return e
}

// Newest returns the refresh token that is good.
func (e *Endpoint) Newest() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.refresh()
}

func (e *Endpoint) refresh() string { return fmt.Sprint(e.Refresh, e.turn) }

// Turn makes the refresh token with this number the good one.
func (e *Endpoint) Turn(number int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.turn = number
}

// Asked is how often it was asked, and how many of these questions it refused.
func (e *Endpoint) Asked() (all, refused int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.asked, e.refused
}

// Before has a function called before each answer, while the endpoint is locked.
func (e *Endpoint) Before(before func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.before = before
}

// Answer has it answer by a function from now on, which returns false for what the endpoint would
// say itself; nil ends that.
func (e *Endpoint) Answer(answer func(http.ResponseWriter) bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answer = answer
}

// ServeHTTP is the endpoint.
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asked++
	e.before()
	if e.answer != nil && e.answer(w) {
		return
	}
	id, secret, _ := r.BasicAuth()
	w.Header().Set("Content-Type", "application/json")
	if id != "me" || secret != e.Secret || r.FormValue("grant_type") != "refresh_token" || r.FormValue("refresh_token") != e.refresh() {
		e.refused++
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"error":"invalid_grant","error_description":"%s, it was %s"}`, e.Refresh, r.FormValue("refresh_token"))
		return
	}
	e.turn++
	fmt.Fprintf(w, `{"access_token":"%s%d","token_type":"Bearer","expires_in":%d,"refresh_token":"%s"}`,
		e.Access, e.turn, int(e.Life.Seconds()), e.refresh())
}

// File is what a file of the host holds for this endpoint and a refresh token. Its form is odd, and
// has to stay: what writes a new token into it changes nothing else.
func (e *Endpoint) File(token string) string {
	return fmt.Sprintf("{ \"client_id\":\"me\",\n\t\"x\": {\"refresh_token\": \"no\"}, "+
		"\"refresh_token\" :%q,\"client_secret\":%q,\n \"token_endpoint\": %q }\n\n", token, e.Secret, e.URL)
}
