// Package server serves the gateway's API on its socket. It checks who connects, routes
// requests, calls the other packages, and converts their results to the types of package
// api. All other decisions are made in those packages. Each resource is a file and a type that
// has only what it needs.
package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/config"
	"openshell-vm/gateway/issuer"
	"openshell-vm/gateway/listener"
	"openshell-vm/gateway/metrics"
	"openshell-vm/gateway/onrenew"
	"openshell-vm/gateway/reserve"
	"openshell-vm/gateway/roster"
	"openshell-vm/gateway/sandbox"
	"openshell-vm/gateway/secrets"
	"openshell-vm/gateway/seen"
	"openshell-vm/gateway/server/answer"
	"openshell-vm/gateway/shares"
	"openshell-vm/gateway/volumes"
	"openshell-vm/internal/discovery"
	"openshell-vm/tokens"
)

const (
	maxBody       = 1 << 20         // bytes of a request
	headerTimeout = 5 * time.Second // for reading a request's header
	shutdownGrace = 2 * time.Second // at the end, for answers that are under way
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
	Reload     func(context.Context) (api.Reloaded, error)
	Issuer     func() []api.Fact // lines for status about the issuer
}

// Parts are the parts of the gateway that the server calls.
type Parts struct {
	Keys      *tokens.Keys
	Roster    *roster.Roster
	Fleet     *sandbox.Fleet
	Shares    *shares.Shares
	Volumes   *volumes.Volumes
	Secrets   *secrets.Secrets
	Reserves  *reserve.Reserves
	Metrics   *metrics.Metrics
	Census    *metrics.Census
	Seen      *seen.Watch
	OnRenew   *onrenew.Calls
	Config    *config.Live
	Issuer    *issuer.Issuer
	Documents discovery.Handler
	Hook      *issuer.Hook
	Listener  *listener.Listener
}

// Server answers requests. It is safe for concurrent use.
type Server struct {
	Parts
	opts Options
	log  *slog.Logger
}

// New makes a server of the gateway's parts.
func New(opts Options, p Parts) *Server { return &Server{Parts: p, opts: opts, log: p.Roster.Log} }

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
		if _, err := os.Lstat(s.Roster.Home.Socket()); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("the socket %s was deleted", s.Roster.Home.Socket())
		}
	}
}

// listen replaces a socket that a killed gateway left. Nobody listens on it, because this
// gateway holds the state directory's lock.
func (s *Server) listen() (net.Listener, error) {
	path := s.Roster.Home.Socket()
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

// routes returns the handler of the whole API. Package api lists its routes. Each resource adds
// its own.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", s.Metrics.Handler())
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	see := views{keys: s.Keys, home: s.Roster.Home, seen: s.Seen, told: s.OnRenew}
	gatewayRoutes{Parts: s.Parts, opts: s.opts}.add(mux)
	eventRoutes{events: &s.Roster.Events, touch: s.opts.Touch}.add(mux)
	auditRoutes{audit: s.Roster.Audit, touch: s.opts.Touch}.add(mux)
	sandboxRoutes{fleet: s.Fleet, roster: s.Roster, see: see, ttl: s.ttl}.add(mux)
	streamRoutes{fleet: s.Fleet}.add(mux)
	tokenRoutes{roster: s.Roster, see: see}.add(mux)
	shareRoutes{shares: s.Shares, roster: s.Roster, seen: s.Seen, see: see}.add(mux)
	keyRoutes{keys: s.Keys, issuer: s.Issuer, hook: s.Hook, keeper: s.Roster.Keeper}.add(mux)
	issuerRoutes{issuer: s.Issuer, documents: s.Documents, own: tokens.Issuer{GatewayID: s.Roster.Home.ID}.Name(),
		listener: s.Listener, hook: s.Hook}.add(mux)
	configRoutes{config: s.Config, reload: s.opts.Reload}.add(mux)
	imageRoutes{engines: s.Fleet.Engines}.add(mux)
	secretRoutes{secrets: s.Secrets}.add(mux)
	volumeRoutes{volumes: s.Volumes, log: s.Roster.Log}.add(mux)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		answer.Fail(w, &api.Error{Code: api.CodeNotFound, Message: fmt.Sprintf("the gateway knows no %s %s", r.Method, r.URL.Path),
			Hint: "openshell-vm and openshell-gateway may be of different versions: openshell-vm gateway stop"})
	})
	return mux
}

// ttl is the lifetime of tokens for which none is named.
func (s *Server) ttl() time.Duration { return s.Config.Now().TTL.Duration }
