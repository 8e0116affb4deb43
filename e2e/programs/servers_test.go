//go:build e2e

package programs_test

import (
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"time"

	"openshell-vm/drivers/driverstest/testhost"
	"openshell-vm/e2e/federation/provider"
)

type authority = provider.Authority

// rates are the times of a run.
type rates struct {
	life  time.Duration // of the credentials
	every string        // how often git's is fetched
	clone time.Duration // how long the response to one clone takes: longer than life
	part  time.Duration // and the responses to each of its submodules
	turns int           // how often the others' credentials are replaced
}

var (
	usual = rates{life: 30 * time.Second, every: "10s", clone: 33 * time.Second, part: 6 * time.Second, turns: 3}
	long  = rates{life: time.Minute, every: "30s", clone: 65 * time.Second, part: 40 * time.Second, turns: 6}
)

// submodules is how many a clone fetches after the project itself.
const submodules = 3

const (
	gitName   = "git.example.com"
	kubeName  = "kube.example.com"
	buildName = "build.example.com"
	stsName   = "sts." + provider.Region + ".amazonaws.com"
)

var serverNames = []string{gitName, kubeName, buildName, stsName}

// servers are those of a world, and what they know.
type servers struct {
	git, kube, aws *ledger
	handlers       map[string]http.Handler // by the name that TLS asks for
	mint           string                  // a socket of this host's where commands get credentials
}

// serve starts the servers of a world.
func (w *world) serve(authority *authority) *servers {
	w.Helper()
	// SDKs of AWS and client-go go by a credential until the moment that it names.
	slow := 3 * time.Second
	if w.driver == "vm" {
		slow = 20 * time.Second // an emulated guest's call
	}
	s := &servers{git: newLedger(w.rates.life, 0), kube: newLedger(w.rates.life, slow), aws: newLedger(w.rates.life, slow),
		mint: filepath.Join(w.home, "mint.sock")}
	s.handlers = map[string]http.Handler{gitName: w.gitServer(s.git), kubeName: kubeServer(s.kube), stsName: stsServer(s.aws)}
	config, err := authority.TLS(serverNames...)
	w.must(err)
	var outer net.Listener
	w.must(testhost.InNetns(w.netns, func() error { outer, err = net.Listen("tcp", net.JoinHostPort(w.address, "443")); return err }))
	w.attend(outer, &http.Server{TLSConfig: config, Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		// By the name of TLS: kubectl proxy 1.20 sends its own client's Host.
		if h := s.handlers[r.TLS.ServerName]; h != nil {
			h.ServeHTTP(rw, r)
			return
		}
		http.NotFound(rw, r)
	})})
	inner, err := net.Listen("unix", s.mint)
	w.must(err)
	mux := http.NewServeMux()
	mux.HandleFunc("/git", s.mintGit)
	mux.HandleFunc("/kube", s.mintKube)
	mux.HandleFunc("/aws", s.mintAWS)
	w.attend(inner, &http.Server{Handler: mux})
	return s
}

// attend serves until the test's end.
func (w *world) attend(l net.Listener, server *http.Server) {
	server.ErrorLog = log.New(io.Discard, "", 0)
	done := make(chan error, 1)
	go func() {
		if server.TLSConfig == nil {
			done <- server.Serve(l)
			return
		}
		done <- server.ServeTLS(l, "", "")
	}()
	w.Cleanup(func() {
		server.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			w.Error(err)
		}
	})
}

// fetch is the command by which the gateway gets a credential, in place of the page's.
func (w *world) fetch(what string) string {
	return "curl -sf --unix-socket " + w.mint + " http://mint/" + what
}

// call has a server answer a request without a sandbox, and returns the status.
func (s *servers) call(name string, r *http.Request) int {
	answer := httptest.NewRecorder()
	s.handlers[name].ServeHTTP(answer, r)
	return answer.Code
}
