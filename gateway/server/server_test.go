package server

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"openshell-vm/gateway/api"
)

// TestOnlyOwnUserAndRoot get in.
func TestOnlyOwnUserAndRoot(t *testing.T) {
	for uid, ok := range map[uint32]bool{0: true, uint32(os.Geteuid()): true, uint32(os.Geteuid()) + 1: false} {
		err := checkPeer(context.WithValue(t.Context(), peerKey{}, &unix.Ucred{Uid: uid}))
		if (err == nil) != ok {
			t.Errorf("uid %d: %v", uid, err)
		}
	}
	if checkPeer(t.Context()) == nil {
		t.Error("a connection without credentials gets in")
	}
}

// TestUnknownCode: an error code without an HTTP status is answered with 500.
func TestUnknownCode(t *testing.T) {
	w := httptest.NewRecorder()
	fail(w, &api.Error{Message: "an error without a code"})
	if w.Code != http.StatusInternalServerError || httpStatus(api.CodeNotFound) != http.StatusNotFound {
		t.Errorf("status %d, and %d for what is not there", w.Code, httpStatus(api.CodeNotFound))
	}
}
