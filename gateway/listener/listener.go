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
	"openshell-vm/internal/paced"
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
	// Documents has what verifiers fetch. Issuer is its URL, "" for none: below that URL's
	// path everything is served as well.
	Documents discovery.Handler
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
	clients  clients
	ending   sync.WaitGroup // servers that end

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

// Status is one line for people; "" if it is off. It waits for no file.
func (l *Listener) Status() string {
	l.mu.Lock()
	s, addr, pair, problem := l.settings, l.addr, l.pair, l.problem
	l.mu.Unlock()
	switch {
	case addr == "" && s.Address == "":
		return ""
	case addr == "" && problem != "":
		return problem + "; it is tried again"
	case addr == "":
		return s.Address + ": it begins to listen"
	}
	line := "http://" + addr
	if pair != nil {
		line = "https://" + addr
		if told := pair.status(time.Now()); told != "" {
			line += "; " + told
		}
	}
	if problem != "" {
		line += "; the settings before are served, since the new ones can't be: " + problem + "; it is tried again"
	}
	return line
}

// Run listens where Configure says, until ctx ends. What is served goes on until what is to be
// served in its place can be.
func (l *Listener) Run(ctx context.Context) {
	var now, next *service
	defer l.ending.Wait()
	defer func() { l.end(now); next.forget() }()
	for delay := firstRetry; ctx.Err() == nil; {
		l.mu.Lock()
		s, changed := l.settings, l.changed
		l.mu.Unlock()
		if next == nil || next.settings != s {
			if next != now {
				next.forget()
			}
			next = now
			if now == nil || now.settings != s {
				next = l.newService(ctx, s)
			}
		}
		var err error
		if now, err = l.replace(ctx, now, next, changed); err == nil {
			delay = firstRetry
			l.listens(now)
			if err = wait(ctx, changed, now.failed(), nil); err == nil {
				continue
			}
			l.end(now) // it should not have ended by itself
			now, next = nil, nil
		}
		if ctx.Err() != nil {
			return
		}
		l.tell(s, now != nil, err)
		if wait(ctx, changed, now.failed(), time.After(delay)) != nil {
			l.end(now)
			now = nil
		}
		delay = min(2*delay, longestRetry)
	}
}

// wait waits for any of these; it returns the error if that is what came.
func wait(ctx context.Context, changed <-chan struct{}, failed <-chan error, retry <-chan time.Time) error {
	select {
	case <-ctx.Done():
	case <-changed:
	case <-retry:
	case err := <-failed:
		return err
	}
	return nil
}

// tell notes why it does not listen as it should, and logs it once.
func (l *Listener) tell(s Settings, listens bool, err error) {
	line := text.Line(fmt.Sprintf("can't listen on %s: %v", s.Address, err))
	l.mu.Lock()
	known := l.problem == line || l.settings != s
	if !known {
		l.problem = line
	}
	l.mu.Unlock()
	switch {
	case known:
	case listens:
		l.opts.Log.Warn("the listener keeps the settings before", "error", line)
	default:
		l.opts.Log.Warn("verifiers can't reach the gateway; renewals go on", "error", line)
	}
}

// service is what is served, or is to be served, with one group of settings.
type service struct {
	settings Settings
	cancel   context.CancelFunc
	ctx      context.Context
	pair     *pair // nil for plain HTTP
	socket   net.Listener
	server   *http.Server
	ended    chan error // of the server, if it ends by itself
}

// newService begins to read the certificate, if there is one.
func (l *Listener) newService(ctx context.Context, s Settings) *service {
	v := &service{settings: s, ended: make(chan error, 1)}
	v.ctx, v.cancel = context.WithCancel(ctx)
	if s.Cert != "" {
		v.pair = newPair(s.Cert, s.Key, l.opts.Log)
		go v.pair.watch(v.ctx) // not waited for: a file system may hang
	}
	return v
}

// forget ends what newService began. It is for services that are not served.
func (v *service) forget() {
	if v != nil {
		v.cancel()
	}
}

func (v *service) failed() <-chan error {
	if v == nil {
		return nil
	}
	return v.ended
}

// replace serves next in place of now, and returns what is served. After an error that is now,
// unless now had the port that next needs.
func (l *Listener) replace(ctx context.Context, now, next *service, changed <-chan struct{}) (*service, error) {
	if now == next {
		return now, nil
	}
	if next.settings.Address == "" {
		l.end(now)
		return nil, nil
	}
	if next.pair != nil {
		if err := next.pair.await(ctx, changed); err != nil {
			return now, err
		}
	}
	socket, err := net.Listen("tcp", next.settings.Address)
	if errors.Is(err, syscall.EADDRINUSE) && now != nil && port(now.settings) == port(next.settings) {
		l.end(now)
		now = nil
		socket, err = net.Listen("tcp", next.settings.Address)
	}
	if err != nil {
		return now, cause(err)
	}
	l.end(now)
	l.serve(next, socket)
	return next, nil
}

func port(s Settings) string {
	_, port, _ := net.SplitHostPort(s.Address)
	return port
}

// listens notes what is served: v, or nothing if v is nil.
func (l *Listener) listens(v *service) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.addr, l.pair = "", nil
	if v != nil {
		l.addr, l.pair = v.socket.Addr().String(), v.pair
		if l.settings == v.settings {
			l.problem = ""
		}
	}
}

// bounded bounds the connections, before any TLS.
func (l *Listener) bounded(v *service) net.Listener {
	looked := paced.New(v.ctx, v.socket, rate.NewLimiter(lookPerSecond, lookPerSecond/10))
	socket := paced.New(v.ctx, netutil.LimitListener(fair{looked, &l.clients}, maxConnections), l.accepts)
	if v.pair == nil {
		return socket
	}
	return tls.NewListener(socket, &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: v.pair.get, NextProtos: []string{"http/1.1"}})
}

// serve serves v on the socket until end.
func (l *Listener) serve(v *service, socket net.Listener) {
	v.socket = socket
	v.server = &http.Server{Handler: http.MaxBytesHandler(http.HandlerFunc(l.answer), maxBody),
		ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeader, Protocols: new(http.Protocols),
		DisableGeneralOptionsHandler: true, // it would answer OPTIONS * beside the rate
		BaseContext:                  func(net.Listener) context.Context { return v.ctx },
		ErrorLog:                     slog.NewLogLogger(l.opts.Log.Handler(), slog.LevelDebug), // whoever scans ports must not fill the log
	}
	v.server.Protocols.SetHTTP1(true)
	bounded := l.bounded(v)
	l.ending.Go(func() { v.ended <- v.server.Serve(bounded) })
	l.listens(v)
	l.opts.Log.Info("verifiers are served", "address", socket.Addr().String(), "tls", v.pair != nil)
}

// end closes a service's socket. Requests that are under way get a moment to end, which is not
// waited for. A service of nil is fine.
func (l *Listener) end(v *service) {
	if v == nil {
		return
	}
	l.listens(nil)
	v.socket.Close()
	l.ending.Go(func() {
		defer v.cancel()
		grace, cancel := context.WithTimeout(context.WithoutCancel(v.ctx), shutdownGrace)
		defer cancel()
		if v.server.Shutdown(grace) != nil {
			v.server.Close()
		}
	})
}

// cause is the error without the words around it that the address has already.
func cause(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}
