// Package server serves the gateway's API on its socket. It checks who connects, routes
// requests, calls the other packages, and converts their results to the types of package
// api and their errors to HTTP statuses. All other decisions are made in those packages.
package server

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/explain"
	"openshell-vm/gateway/metrics"
	"openshell-vm/gateway/reserve"
	"openshell-vm/gateway/roster"
	"openshell-vm/gateway/sandbox"
	"openshell-vm/gateway/sandbox/inside"
	"openshell-vm/gateway/shares"
	"openshell-vm/gateway/volumes"
	"openshell-vm/internal/peer"
	"openshell-vm/tokens"
)

const (
	maxBody       = 1 << 20          // bytes of a request
	headerTimeout = 5 * time.Second  // for reading a request's header
	shutdownGrace = 2 * time.Second  // at the end, for answers that are under way
	maxLeeway     = 10 * time.Minute // the largest leeway of a verify request
)

// Options are facts on the gateway for status and doctor, and functions that act on it.
type Options struct {
	Version    string
	StartedAt  time.Time
	Supervisor string          // systemd, parent or none
	Unit       string          // the systemd unit that runs the gateway, if the user made the unit
	Advice     func() []string // one line each; nil for none
	LookEvery  time.Duration   // how often Serve checks that the socket still exists
	Stop       func()          // makes the gateway end, and does not wait for that
	Touch      func()          // notes that the gateway is used
}

// Parts are the parts of the gateway that the server calls.
type Parts struct {
	Keys     *tokens.Keys
	Roster   *roster.Roster
	Fleet    *sandbox.Fleet
	Shares   *shares.Shares
	Volumes  *volumes.Volumes
	Reserves *reserve.Reserves
	Metrics  *metrics.Metrics
	Census   *metrics.Census
}

// Server answers requests. It is safe for concurrent use.
type Server struct {
	opts     Options
	log      *slog.Logger
	keys     *tokens.Keys
	roster   *roster.Roster
	fleet    *sandbox.Fleet
	shares   *shares.Shares
	volumes  *volumes.Volumes
	reserves *reserve.Reserves
	metrics  *metrics.Metrics
	census   *metrics.Census
}

// New makes a server of the gateway's parts.
func New(opts Options, p Parts) *Server {
	return &Server{opts: opts, log: p.Roster.Log, keys: p.Keys, roster: p.Roster, fleet: p.Fleet, shares: p.Shares, volumes: p.Volumes,
		reserves: p.Reserves, metrics: p.Metrics, census: p.Census}
}

// Serve answers requests on the socket until ctx ends or the socket is deleted. It always
// returns an error.
func (s *Server) Serve(ctx context.Context) error {
	listener, err := s.listen()
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           s.guard(s.routes()),
		ReadHeaderTimeout: headerTimeout,
		MaxHeaderBytes:    64 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext:       withPeer,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	s.log.Info("gateway serves", "socket", listener.Addr().String(), "after", time.Since(s.opts.StartedAt))
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	why := s.awaitEnd(ctx, ended)
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	if server.Shutdown(bounded) != nil {
		server.Close()
	}
	return why
}

// awaitEnd waits until ctx ends, serving fails or the socket is deleted. logind deletes a
// user's runtime directory at the logout, and then nobody can reach this gateway. After its
// end a supervisor starts a new one.
func (s *Server) awaitEnd(ctx context.Context, served <-chan error) error {
	ticker := time.NewTicker(s.opts.LookEvery)
	defer ticker.Stop()
	for {
		select {
		case err := <-served:
			return fmt.Errorf("serve the API: %w", err)
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		if _, err := os.Lstat(s.roster.Home.Socket()); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("the socket %s was deleted", s.roster.Home.Socket())
		}
	}
}

// listen replaces a socket that a killed gateway left. Nobody listens on it, because this
// gateway holds the state directory's lock.
func (s *Server) listen() (net.Listener, error) {
	path := s.roster.Home.Socket()
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("replace the socket: %w", err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		listener.Close()
		return nil, err
	}
	return listener, nil
}

// routes returns the handler of the whole API. Package api lists its routes.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", s.metrics.Handler())
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })

	mux.Handle("GET /v1/status", answer(s.getStatus))
	mux.Handle("GET /v1/doctor", answer(func(r *http.Request) (any, error) { return s.doctor(r.Context()), nil }))
	mux.HandleFunc("POST /v1/stop", s.postStop)
	mux.HandleFunc("GET /v1/events", s.getEvents)
	mux.Handle("POST /v1/token/verify", answer(s.postVerify))
	mux.Handle("POST /v1/sandboxes", answer(s.postSandbox))
	mux.Handle("GET /v1/sandboxes", answer(s.getSandboxes))

	of := func(f func(*http.Request, *sandbox.Sandbox) (any, error)) http.Handler {
		return inPath(s.fleet.Find, f)
	}
	mux.Handle("GET /v1/sandboxes/{ref}", of(s.getSandbox))
	mux.Handle("DELETE /v1/sandboxes/{ref}", of(s.deleteSandbox))
	mux.Handle("POST /v1/sandboxes/{ref}/start", of(s.postStart))
	mux.Handle("POST /v1/sandboxes/{ref}/stop", of(s.postStopSandbox))
	mux.Handle("POST /v1/sandboxes/{ref}/signal", of(s.postSignal))
	mux.Handle("POST /v1/sandboxes/{ref}/rename", of(s.postRename))
	mux.Handle("POST /v1/sandboxes/{ref}/update", of(s.postUpdate))
	mux.Handle("GET /v1/sandboxes/{ref}/wait", of(func(r *http.Request, box *sandbox.Sandbox) (any, error) { return box.Wait(r.Context()) }))
	mux.Handle("GET /v1/sandboxes/{ref}/archive/stat", of(s.getPathStat))
	mux.Handle("GET /v1/sandboxes/{ref}/usage", of(func(r *http.Request, box *sandbox.Sandbox) (any, error) { return inside.Usage(r.Context(), box) }))
	mux.Handle("POST /v1/sandboxes/{ref}/launch", of(s.postLaunch))
	s.imageRoutes(mux)
	s.shareRoutes(mux)
	s.volumeRoutes(mux)

	mux.HandleFunc("GET /v1/sandboxes/{ref}/logs", s.streams(getLogs))
	mux.HandleFunc("POST /v1/sandboxes/{ref}/attach", s.streams(postAttach))
	mux.HandleFunc("POST /v1/sandboxes/{ref}/exec", s.streams(postExec))
	mux.HandleFunc("GET /v1/sandboxes/{ref}/archive", s.streams(getArchive))
	mux.HandleFunc("POST /v1/sandboxes/{ref}/archive", s.streams(postArchive))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, &api.Error{Code: api.CodeNotFound, Message: fmt.Sprintf("the gateway knows no %s %s", r.Method, r.URL.Path),
			Hint: "openshell-vm and openshell-gateway may be of different versions: openshell-vm gateway stop"})
	})
	return mux
}

// guard lets in only the gateway's own user and root, and only API versions that this
// gateway supports. /metrics, /healthz and the public keys need no version.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.opts.Touch()
		if err := checkPeer(r.Context()); err != nil {
			fail(w, err)
			return
		}
		if p := r.URL.Path; p != "/metrics" && p != "/healthz" && p != jwksPath {
			if err := checkVersion(r.Header.Get(api.Header)); err != nil {
				fail(w, err)
				return
			}
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		next.ServeHTTP(w, r)
		s.opts.Touch()
	})
}

func checkVersion(header string) error {
	version, err := strconv.Atoi(header)
	if err == nil && version <= api.Version && version >= max(1, api.Version-1) {
		return nil
	}
	return &api.Error{Code: api.CodeVersion, Message: fmt.Sprintf("the gateway speaks version %d of its API, not %q", api.Version, header),
		Hint: "install openshell-vm and openshell-gateway together, then: openshell-vm gateway stop"}
}

// peerKey is the context key of a connection's peer credentials.
type peerKey struct{}

func withPeer(ctx context.Context, conn net.Conn) context.Context {
	if unixConn, ok := conn.(*net.UnixConn); ok {
		if cred, err := peer.Of(unixConn); err == nil {
			ctx = context.WithValue(ctx, peerKey{}, cred)
		}
	}
	return ctx
}

func checkPeer(ctx context.Context) error {
	cred, ok := ctx.Value(peerKey{}).(*unix.Ucred)
	if ok && peer.Trusted(cred.Uid) {
		return nil
	}
	return &api.Error{Code: api.CodeForbidden,
		Message: "this gateway serves its own user and root only",
		Hint:    "run as the user whose gateway this is"}
}

// answer makes a handler that sends f's result as JSON, or its error.
func answer(f func(*http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := f(r)
		if err != nil {
			fail(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(body) // an error means that the client has gone
	})
}

// fail answers with an error.
func fail(w http.ResponseWriter, err error) {
	e := explain.Error(err)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(httpStatus(e.Code))
	_ = json.NewEncoder(w).Encode(e) // an error means that the client has gone
}

// decode reads a JSON body; an empty one leaves v as it is.
func decode(r *http.Request, v any) error {
	err := json.NewDecoder(r.Body).Decode(v)
	if err == nil || errors.Is(err, io.EOF) {
		return nil
	}
	return &api.Error{Code: api.CodeInvalid,
		Message: "the request can't be read: " + explain.Line(err),
		Hint:    "openshell-vm and openshell-gateway may be of different versions"}
}

func (s *Server) getStatus(*http.Request) (any, error) {
	n := s.census.Count(time.Now())
	return api.Status{ID: s.roster.Home.ID, Version: s.opts.Version, PID: os.Getpid(), StartedAt: s.opts.StartedAt,
		StateDir: s.roster.Home.State, RuntimeDir: s.roster.Home.Runtime, Socket: s.roster.Home.Socket(),
		Supervisor: s.opts.Supervisor, Unit: s.opts.Unit, Environment: api.OwnEnvironment(), Advice: s.advice(),
		Sandboxes: n.All, Running: n.Running, Shares: n.Shares, Failing: n.Failing,
		Unreadable: s.roster.Unread(""), Short: s.reserves.Short()}, nil
}

// postStop answers first, and then makes the gateway end.
func (s *Server) postStop(w http.ResponseWriter, r *http.Request) {
	answer(func(*http.Request) (any, error) { return struct{}{}, nil }).ServeHTTP(w, r)
	_ = http.NewResponseController(w).Flush() // if the client has gone, the gateway ends all the same
	s.log.Info("stop was asked for")
	s.opts.Stop()
}

func (s *Server) postVerify(r *http.Request) (any, error) {
	var q api.VerifyRequest
	if err := decode(r, &q); err != nil {
		return nil, err
	}
	if q.Leeway < 0 || q.Leeway > maxLeeway {
		return nil, &api.Error{Code: api.CodeInvalid,
			Message: fmt.Sprintf("a leeway of %v is not allowed", q.Leeway),
			Hint:    fmt.Sprintf("give one between 0s and %v", maxLeeway)}
	}
	claims, err := s.roster.Keeper.Verifier(q.Leeway).Verify(q.Token, time.Now())
	if err != nil {
		return api.VerifyResult{Problem: explain.Line(err)}, nil
	}
	return api.VerifyResult{Valid: true, SandboxID: claims.SandboxID, KeyID: claims.KeyID, Generation: claims.Generation,
		IssuedAt: claims.IssuedAt, ExpiresAt: claims.ExpiresAt}, nil
}

func (s *Server) postSandbox(r *http.Request) (any, error) {
	var q api.CreateRequest
	if err := decode(r, &q); err != nil {
		return nil, err
	}
	box, err := s.fleet.Create(r.Context(), q)
	if err != nil {
		return nil, err
	}
	s.log.Info("created", "sandbox", box.ID, "name", box.Rec().Name, "driver", box.Rec().Driver)
	return s.view(box), nil
}

func (s *Server) getSandboxes(r *http.Request) (any, error) {
	s.fleet.Freshen(r.Context())
	all := s.fleet.All()
	views := make([]api.Sandbox, 0, len(all))
	for _, box := range all {
		view := s.view(box)
		view.Details = nil
		views = append(views, view)
	}
	views = append(views, s.roster.UnreadSandboxes()...)
	slices.SortFunc(views, func(a, b api.Sandbox) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), strings.Compare(a.ID, b.ID))
	})
	return views, nil
}

func (s *Server) getSandbox(r *http.Request, box *sandbox.Sandbox) (any, error) {
	bounded, cancel := context.WithTimeout(r.Context(), sandbox.FreshenDeadline)
	defer cancel()
	box.LookAt(bounded)
	return s.view(box), nil
}

func (s *Server) deleteSandbox(r *http.Request, box *sandbox.Sandbox) (any, error) {
	return struct{}{}, box.Remove(r.Context(), r.URL.Query().Get("force") != "")
}

func (s *Server) postStart(r *http.Request, box *sandbox.Sandbox) (any, error) {
	if err := box.Start(r.Context()); err != nil {
		return nil, err
	}
	return s.view(box), nil
}

func (s *Server) postStopSandbox(r *http.Request, box *sandbox.Sandbox) (any, error) {
	q := api.StopRequest{Grace: sandbox.DefaultGrace}
	if err := decode(r, &q); err != nil {
		return nil, err
	}
	if q.Grace < 0 || q.Grace > time.Hour {
		return nil, &api.Error{Code: api.CodeInvalid,
			Message: fmt.Sprintf("a grace of %v is not allowed", q.Grace),
			Hint:    "give one between 0s and 1h"}
	}
	if err := box.Stop(r.Context(), q.Grace); err != nil {
		return nil, err
	}
	return s.view(box), nil
}

func (s *Server) postSignal(r *http.Request, box *sandbox.Sandbox) (any, error) {
	var q api.SignalRequest
	if err := decode(r, &q); err != nil {
		return nil, err
	}
	if q.Signal < 1 || q.Signal > 64 {
		return nil, &api.Error{Code: api.CodeInvalid,
			Message: fmt.Sprintf("there is no signal %d", q.Signal),
			Hint:    "give a number between 1 and 64"}
	}
	return struct{}{}, inside.Signal(r.Context(), box, q.Signal)
}
