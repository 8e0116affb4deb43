// Package door gives each sandbox a socket of its own, by which its programs ask the gateway:
// /run/openshell/gateway.sock inside. The socket says whose programs ask; no address and no
// header does.
//
// What is promised: the directory that a sandbox has mounted stays the same while gateways come
// and go, and each gateway listens in it anew. A sandbox that floods its socket, stalls or sends
// without end delays no renewal and no other sandbox: connections, requests a second, bytes and
// times are bounded for each.
package door

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/net/netutil"
	"golang.org/x/time/rate"

	"openshell-vm/gateway/oauth"
	"openshell-vm/internal/paced"
	"openshell-vm/internal/peer"
)

// Socket is the socket's name in a door's directory.
const Socket = "gateway.sock"

// What one sandbox can take of the gateway.
const (
	maxConns      = 32
	perSecond     = 100 // requests
	burst         = 200
	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second // of a whole request
	writeTimeout  = 10 * time.Second
	idleTimeout   = 30 * time.Second
	maxHeader     = 16 << 10 // bytes
)

// Doors are the sockets of all sandboxes. It is safe for concurrent use; its lock is a leaf.
type Doors struct {
	handler http.Handler
	program string
	log     *slog.Logger

	mu   sync.Mutex
	open map[string]*door // by sandbox
}

// New makes doors that lead to handler. It gets the caller by oauth.WithCaller. program is put
// beside each socket; "" for none.
func New(handler http.Handler, program string, log *slog.Logger) *Doors {
	return &Doors{handler: handler, program: program, log: log, open: map[string]*door{}}
}

// door is one sandbox's. Its lock is held over system calls, which may hang with the file system
// that the door is on; that of Doors is not.
type door struct {
	mu     sync.Mutex
	dir    string
	server *http.Server // nil while it is closed
	gone   bool         // Close was called: another door takes this one's place
}

// Open listens in a sandbox's directory until Close. One that is open already stays as it is.
func (d *Doors) Open(sandbox, dir string) error {
	d.mu.Lock()
	o := d.open[sandbox]
	if o == nil {
		o = &door{}
		d.open[sandbox] = o
	}
	d.mu.Unlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.gone || o.server != nil && o.dir == dir && there(dir) {
		return nil
	}
	o.close()
	listener, err := listen(dir)
	if err != nil {
		return fmt.Errorf("open the sandbox's socket: %w", err)
	}
	o.dir, o.server = dir, d.server(sandbox)
	// No more connections a second than requests.
	bounded := paced.New(context.Background(), netutil.LimitListener(listener, maxConns), rate.NewLimiter(perSecond, burst))
	go func(server *http.Server) {
		err := server.Serve(bounded)
		if !errors.Is(err, http.ErrServerClosed) {
			d.log.Warn("a sandbox's socket is closed", "sandbox", sandbox, "error", err)
		}
	}(o.server)
	return nil
}

// close stops listening. The caller holds the door's lock.
func (o *door) close() {
	if o.server != nil {
		o.server.Close()
		o.server = nil
	}
}

func (d *Doors) server(sandbox string) *http.Server {
	caller := oauth.Caller{Sandbox: sandbox, Way: "socket"}
	return &http.Server{
		Handler:           limited(d.handler),
		ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeader,
		BaseContext:    func(net.Listener) context.Context { return oauth.WithCaller(context.Background(), caller) },
		ErrorLog:       slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug), // a sandbox could fill the log
		// The server would answer "OPTIONS *" itself, without a limit.
		DisableGeneralOptionsHandler: true,
	}
}

// there reports whether the socket is still in its directory.
func there(dir string) bool {
	info, err := os.Lstat(filepath.Join(dir, Socket))
	return err == nil && info.Mode().Type() == fs.ModeSocket
}

// listen replaces a socket that an earlier gateway left.
func listen(dir string) (net.Listener, error) {
	listener, err := peer.ListenIn(dir, Socket)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(filepath.Join(dir, Socket), 0o666); err != nil {
		listener.Close()
		return nil, err
	}
	return listener, nil
}

// limited bounds how often one sandbox may ask. Who asks too often waits: it has maxConns
// connections, so no request waits longer than a second, and none costs more than its turn.
func limited(next http.Handler) http.Handler {
	turns := rate.NewLimiter(perSecond, burst)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if turns.Wait(r.Context()) == nil {
			next.ServeHTTP(w, r)
		}
	})
}

// Close stops listening for a sandbox and breaks its connections. The directory stays.
func (d *Doors) Close(sandbox string) {
	d.mu.Lock()
	o := d.open[sandbox]
	delete(d.open, sandbox)
	d.mu.Unlock()
	if o != nil {
		o.shut()
	}
}

func (o *door) shut() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.gone = true
	o.close()
}

// CloseAll closes all, at the gateway's end. It waits for none that hangs.
func (d *Doors) CloseAll() {
	d.mu.Lock()
	all := d.open
	d.open = map[string]*door{}
	d.mu.Unlock()
	for _, o := range all {
		if o.mu.TryLock() {
			o.gone = true
			o.close()
			o.mu.Unlock()
		}
	}
}

// Remove closes a sandbox's door and removes its directory. One that is gone is no error.
func (d *Doors) Remove(sandbox, dir string) error {
	d.Close(sandbox)
	return os.RemoveAll(dir)
}
