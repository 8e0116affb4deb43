package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/internal/peer"
	"openshell-vm/tokens"
)

const (
	maxBody       = 1 << 20          // bytes of a request
	headerTimeout = 5 * time.Second  // to read a request's header
	shutdownGrace = 2 * time.Second  // for answers that are under way at the end
	maxLeeway     = 10 * time.Minute // that a verify request may ask for
)

// serve answers requests on the socket until ctx ends.
func (g *Gateway) serve(ctx context.Context) error {
	listener, err := g.listen()
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           g.guard(g.routes()),
		ReadHeaderTimeout: headerTimeout,
		MaxHeaderBytes:    64 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext:       withPeer,
		ErrorLog:          slog.NewLogLogger(g.log.Handler(), slog.LevelWarn),
	}
	g.log.Info("gateway serves", "socket", listener.Addr().String(), "after", time.Since(g.startedAt))
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	why := g.awaitEnd(ctx, ended)
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	if server.Shutdown(bounded) != nil {
		server.Close()
	}
	return why
}

// awaitEnd returns when the gateway is to end, or when nobody can reach it any
// more: logind deletes the user's runtime directory at a logout. The supervisor
// then starts one that can be reached.
func (g *Gateway) awaitEnd(ctx context.Context, served <-chan error) error {
	ticker := time.NewTicker(g.opts.LookEvery)
	defer ticker.Stop()
	for {
		select {
		case err := <-served:
			return fmt.Errorf("serve the API: %w", err)
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		if _, err := os.Lstat(g.home.Socket()); isNotExist(err) {
			return fmt.Errorf("the socket %s was deleted", g.home.Socket())
		}
	}
}

// listen replaces a socket that a killed gateway left: the state lock says that
// nobody listens there.
func (g *Gateway) listen() (net.Listener, error) {
	path := g.home.Socket()
	if err := os.Remove(path); err != nil && !isNotExist(err) {
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

// routes are the API's, as package api lists them.
func (g *Gateway) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", g.metrics.handler())
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })

	mux.Handle("GET /v1/status", answer(g.getStatus))
	mux.Handle("GET /v1/doctor", answer(func(r *http.Request) (any, error) { return g.doctor(r.Context()), nil }))
	mux.HandleFunc("POST /v1/stop", g.postStop)
	mux.Handle("POST /v1/token/verify", answer(g.postVerify))
	mux.Handle("POST /v1/sandboxes", answer(g.postSandbox))
	mux.Handle("GET /v1/sandboxes", answer(g.getSandboxes))

	of := func(f func(*http.Request, *sandbox) (any, error)) http.Handler { return answer(g.ofSandbox(f)) }
	mux.Handle("GET /v1/sandboxes/{ref}", of(g.getSandbox))
	mux.Handle("DELETE /v1/sandboxes/{ref}", of(g.deleteSandbox))
	mux.Handle("POST /v1/sandboxes/{ref}/start", of(g.postStart))
	mux.Handle("POST /v1/sandboxes/{ref}/stop", of(g.postStopSandbox))
	mux.Handle("POST /v1/sandboxes/{ref}/signal", of(g.postSignal))
	mux.Handle("GET /v1/sandboxes/{ref}/wait", of(func(r *http.Request, s *sandbox) (any, error) { return g.wait(r.Context(), s) }))
	mux.HandleFunc("POST /v1/images/pull", g.postPull)
	g.shareRoutes(mux)

	mux.HandleFunc("GET /v1/sandboxes/{ref}/logs", g.streams(g.getLogs))
	mux.HandleFunc("POST /v1/sandboxes/{ref}/attach", g.streams(g.postAttach))
	mux.HandleFunc("POST /v1/sandboxes/{ref}/exec", g.streams(g.postExec))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, &api.Error{Code: api.CodeNotFound, Message: fmt.Sprintf("the gateway knows no %s %s", r.Method, r.URL.Path),
			Hint: "openshell-vm and openshell-gateway may be of different versions: openshell-vm gateway stop"})
	})
	return mux
}

// guard lets in the gateway's own user and root, with a version that is spoken here.
func (g *Gateway) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.touch()
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
		g.touch()
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

// peerKey finds the credentials of a connection's other end in its context.
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
	return &api.Error{Code: api.CodeForbidden, Message: "this gateway serves its own user and root only", Hint: "run as the user whose gateway this is"}
}

// answer makes a handler of a function that returns what to send as JSON.
func answer(f func(*http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := f(r)
		if err != nil {
			fail(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(body) // the client has gone: nobody to tell
	})
}

// fail answers with an error.
func fail(w http.ResponseWriter, err error) {
	e := explain(err)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(httpStatus(e.Code))
	_ = json.NewEncoder(w).Encode(e) // the client has gone: nobody to tell
}

// ofSandbox resolves the ref in the path.
func (g *Gateway) ofSandbox(f func(*http.Request, *sandbox) (any, error)) func(*http.Request) (any, error) {
	return func(r *http.Request) (any, error) {
		s, err := g.findSandbox(r.PathValue("ref"))
		if err != nil {
			return nil, err
		}
		return f(r, s)
	}
}

// decode reads a JSON body; an empty one leaves v as it is.
func decode(r *http.Request, v any) error {
	err := json.NewDecoder(r.Body).Decode(v)
	if err == nil || errors.Is(err, io.EOF) {
		return nil
	}
	return &api.Error{Code: api.CodeInvalid, Message: "the request can't be read: " + oneLine(err), Hint: "openshell-vm and openshell-gateway may be of different versions"}
}

func (g *Gateway) getStatus(*http.Request) (any, error) {
	n := g.count(time.Now())
	return api.Status{ID: g.home.ID, Version: g.opts.Version, PID: os.Getpid(), StartedAt: g.startedAt,
		StateDir: g.home.State, RuntimeDir: g.home.Runtime, Socket: g.home.Socket(),
		Supervisor: g.opts.Supervisor, Unit: g.opts.Unit, Environment: api.OwnEnvironment(), Advice: g.advice(),
		Sandboxes: n.all, Running: n.running, Shares: n.shares, Failing: n.failing, Unreadable: g.unread(""), Short: g.short()}, nil
}

// postStop answers before the end begins.
func (g *Gateway) postStop(w http.ResponseWriter, r *http.Request) {
	answer(func(*http.Request) (any, error) { return struct{}{}, nil }).ServeHTTP(w, r)
	_ = http.NewResponseController(w).Flush() // the client has gone: it wanted the end all the same
	g.log.Info("stop was asked for")
	g.Stop()
}

func (g *Gateway) postVerify(r *http.Request) (any, error) {
	var q api.VerifyRequest
	if err := decode(r, &q); err != nil {
		return nil, err
	}
	if q.Leeway < 0 || q.Leeway > maxLeeway {
		return nil, &api.Error{Code: api.CodeInvalid, Message: fmt.Sprintf("a leeway of %v is not allowed", q.Leeway), Hint: fmt.Sprintf("give one between 0s and %v", maxLeeway)}
	}
	verifier := tokens.Verifier{Keys: g.keys, GatewayID: g.home.ID, Leeway: q.Leeway, Exists: g.exists}
	claims, err := verifier.Verify(q.Token, time.Now())
	if err != nil {
		return api.VerifyResult{Problem: oneLine(err)}, nil
	}
	return api.VerifyResult{Valid: true, SandboxID: claims.SandboxID, KeyID: claims.KeyID, Generation: claims.Generation,
		IssuedAt: claims.IssuedAt, ExpiresAt: claims.ExpiresAt}, nil
}

func (g *Gateway) postSandbox(r *http.Request) (any, error) {
	var q api.CreateRequest
	if err := decode(r, &q); err != nil {
		return nil, err
	}
	s, err := g.create(r.Context(), q)
	if err != nil {
		return nil, err
	}
	g.log.Info("created", "sandbox", s.id, "name", s.rec().Name, "driver", s.rec().Driver)
	return g.view(s), nil
}

func (g *Gateway) getSandboxes(r *http.Request) (any, error) {
	g.freshen(r.Context())
	all := g.all()
	views := make([]api.Sandbox, 0, len(all))
	for _, s := range all {
		if s.rec().Own() {
			continue
		}
		view := g.view(s)
		view.Details = nil
		views = append(views, view)
	}
	views = append(views, g.unreadSandboxes()...)
	slices.SortFunc(views, func(a, b api.Sandbox) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), strings.Compare(a.ID, b.ID))
	})
	return views, nil
}

func (g *Gateway) getSandbox(r *http.Request, s *sandbox) (any, error) {
	bounded, cancel := context.WithTimeout(r.Context(), freshenDeadline)
	defer cancel()
	g.lookAt(bounded, s)
	return g.view(s), nil
}

func (g *Gateway) deleteSandbox(r *http.Request, s *sandbox) (any, error) {
	return struct{}{}, g.remove(r.Context(), s, r.URL.Query().Get("force") != "")
}

func (g *Gateway) postStart(r *http.Request, s *sandbox) (any, error) {
	if err := g.start(r.Context(), s); err != nil {
		return nil, err
	}
	return g.view(s), nil
}

func (g *Gateway) postStopSandbox(r *http.Request, s *sandbox) (any, error) {
	q := api.StopRequest{Grace: defaultGrace}
	if err := decode(r, &q); err != nil {
		return nil, err
	}
	if q.Grace < 0 || q.Grace > time.Hour {
		return nil, &api.Error{Code: api.CodeInvalid, Message: fmt.Sprintf("a grace of %v is not allowed", q.Grace), Hint: "give one between 0s and 1h"}
	}
	if err := g.stopSandbox(r.Context(), s, q.Grace); err != nil {
		return nil, err
	}
	return g.view(s), nil
}

func (g *Gateway) postSignal(r *http.Request, s *sandbox) (any, error) {
	var q api.SignalRequest
	if err := decode(r, &q); err != nil {
		return nil, err
	}
	if q.Signal < 1 || q.Signal > 64 {
		return nil, &api.Error{Code: api.CodeInvalid, Message: fmt.Sprintf("there is no signal %d", q.Signal), Hint: "give a number between 1 and 64"}
	}
	signaler, ok := g.drivers[s.rec().Driver].(drivers.Signaler)
	if !ok {
		return nil, notSupported(s.rec().Driver, "send signals")
	}
	return struct{}{}, signaler.Signal(r.Context(), s.id, q.Signal)
}

func (g *Gateway) postRotate(r *http.Request, s *sandbox) (any, error) {
	if err := g.rotate(r.Context(), s); err != nil {
		return nil, err
	}
	return g.view(s).Token, nil
}
