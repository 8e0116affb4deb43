package server

import (
	"context"
	"os"
	"testing"

	"golang.org/x/sys/unix"
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
