package server

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"

	"golang.org/x/sys/unix"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/server/answer"
	"openshell-vm/internal/discovery"
	"openshell-vm/internal/peer"
)

// guard lets in only the gateway's own user and root, and only API versions that this
// gateway supports. /metrics, /healthz, the public keys and the discovery document need no version.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.opts.Touch()
		if err := checkPeer(r.Context()); err != nil {
			answer.Fail(w, err)
			return
		}
		if p := r.URL.Path; p != "/metrics" && p != "/healthz" && p != discovery.KeysPath && p != discovery.ConfigurationPath {
			if err := checkVersion(r.Header.Get(api.Header)); err != nil {
				answer.Fail(w, err)
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
