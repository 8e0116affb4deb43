package listener

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/netutil"
	"golang.org/x/time/rate"

	"openshell-vm/internal/discovery"
	"openshell-vm/internal/text"
)

const (
	maxConnections = 256
	maxHeader      = 16 << 10 // bytes
	maxBody        = 1 << 20
	headerTimeout  = 5 * time.Second // also for a TLS handshake
	readTimeout    = 10 * time.Second
	writeTimeout   = 30 * time.Second
	idleTimeout    = 30 * time.Second
	shutdownGrace  = 2 * time.Second
	firstRetry     = time.Second
	longestRetry   = 30 * time.Second
	perSecond      = 200 // new connections, and as many requests again
	burst          = 400
)

// Settings say where to listen. The zero value is nowhere.
type Settings struct {
	Address   string // HOST:PORT
	Cert, Key string // PEM files; "" for plain HTTP
}

// Options are what a listener serves.
type Options struct {
	// Documents returns what verifiers fetch. Issuer is its URL, "" for none: below that
	// URL's path they are served as well.
	Documents func(now time.Time) (discovery.Documents, error)
	Issuer    func() string
	// Handler gets what is asked for beside the documents and /healthz, with a bounded body;
	// nil for nothing. It is called for many clients at once, and none of them is trusted.
	Handler http.Handler
	Log     *slog.Logger
}

// Listener serves verifiers at the configured address. It is safe for concurrent use.
type Listener struct {
	opts     Options
	requests *rate.Limiter
	accepts  *rate.Limiter

	mu       sync.Mutex
	settings Settings
	changed  chan struct{} // closed at the next Configure
	addr     string        // where it listens; "" if nowhere
	pair     *pair         // nil for plain HTTP
	problem  string        // one line
}

// New makes a listener that listens nowhere.
func New(opts Options) *Listener {
	return &Listener{opts: opts, changed: make(chan struct{}), requests: rate.NewLimiter(perSecond, burst),
		accepts: rate.NewLimiter(perSecond, burst)}
}

// Configure changes where it listens. Requests that are under way get a moment to end.
func (l *Listener) Configure(s Settings) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s != l.settings {
		l.settings, l.problem = s, ""
		close(l.changed)
		l.changed = make(chan struct{})
	}
}

// On reports whether an address is configured.
func (l *Listener) On() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.settings.Address != ""
}

// Addr returns the address that it listens on; "" if none.
func (l *Listener) Addr() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.addr
}

// Status is one line for people; "" if it is off.
func (l *Listener) Status() string {
	l.mu.Lock()
	s, addr, pair, problem := l.settings, l.addr, l.pair, l.problem
	l.mu.Unlock()
	switch {
	case s.Address == "":
		return ""
	case problem != "":
		return problem + "; it is tried again"
	case addr == "":
		return s.Address + ": it begins to listen"
	case pair == nil:
		return "http://" + addr
	}
	line := "https://" + addr
	if told := pair.status(time.Now()); told != "" {
		line += "; " + told
	}
	return line
}

// Run listens where Configure says, until ctx ends.
func (l *Listener) Run(ctx context.Context) {
	for delay := firstRetry; ; {
		l.mu.Lock()
		s, changed := l.settings, l.changed
		l.mu.Unlock()
		err := l.serve(ctx, s, changed)
		if ctx.Err() != nil {
			return
		}
		if err == nil { // the settings have changed
			delay = firstRetry
			continue
		}
		l.tell(s, err)
		select {
		case <-ctx.Done():
			return
		case <-changed:
			delay = firstRetry
		case <-time.After(delay):
			delay = min(2*delay, longestRetry)
		}
	}
}

// tell notes why it does not listen, and logs it once.
func (l *Listener) tell(s Settings, err error) {
	line := text.Line(fmt.Sprintf("can't listen on %s: %v", s.Address, err))
	l.mu.Lock()
	known := l.problem == line || l.settings != s
	if !known {
		l.problem = line
	}
	l.mu.Unlock()
	if !known {
		l.opts.Log.Warn("verifiers can't reach the gateway; renewals go on", "error", line)
	}
}

// serve listens until the settings change, and returns nil then, or ctx ends.
func (l *Listener) serve(ctx context.Context, s Settings, changed <-chan struct{}) error {
	if s.Address == "" {
		select {
		case <-ctx.Done():
		case <-changed:
		}
		return nil
	}
	var certificate *pair
	if s.Cert != "" {
		certificate = newPair(s.Cert, s.Key, l.opts.Log)
		if err := certificate.load(); err != nil {
			return err
		}
	}
	socket, err := net.Listen("tcp", s.Address)
	if err != nil {
		return cause(err)
	}
	l.listens(socket.Addr().String(), certificate)
	defer l.listens("", nil)
	l.opts.Log.Info("verifiers are served", "address", socket.Addr().String(), "tls", certificate != nil)
	return l.serveOn(ctx, l.bounded(ctx, socket, certificate), changed)
}

func (l *Listener) listens(addr string, p *pair) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.addr, l.pair = addr, p
	if addr != "" {
		l.problem = ""
	}
}

// bounded bounds the connections, before any TLS.
func (l *Listener) bounded(ctx context.Context, socket net.Listener, p *pair) net.Listener {
	socket = &paced{Listener: netutil.LimitListener(socket, maxConnections), ctx: ctx, rate: l.accepts}
	if p == nil {
		return socket
	}
	return tls.NewListener(socket, &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: p.get, NextProtos: []string{"http/1.1"}})
}

func (l *Listener) serveOn(ctx context.Context, socket net.Listener, changed <-chan struct{}) error {
	server := &http.Server{Handler: http.MaxBytesHandler(http.HandlerFunc(l.answer), maxBody),
		ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeader, Protocols: new(http.Protocols),
		DisableGeneralOptionsHandler: true, // it would answer OPTIONS * beside the rate
		BaseContext:                  func(net.Listener) context.Context { return ctx },
		ErrorLog:                     slog.NewLogLogger(l.opts.Log.Handler(), slog.LevelDebug), // whoever scans ports must not fill the log
	}
	server.Protocols.SetHTTP1(true)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(socket) }()
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
	case <-changed:
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	if server.Shutdown(grace) != nil {
		server.Close()
	}
	return err
}

// paced accepts no faster than its rate.
type paced struct {
	net.Listener
	ctx  context.Context
	rate *rate.Limiter
}

func (p *paced) Accept() (net.Conn, error) {
	if err := p.rate.Wait(p.ctx); err != nil && p.ctx.Err() != nil {
		return nil, net.ErrClosed
	}
	return p.Listener.Accept()
}

// cause is the error without the words around it that the address has already.
func cause(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}
