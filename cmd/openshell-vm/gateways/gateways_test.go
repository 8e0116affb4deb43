package gateways

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"openshell-vm/gateway/api"
)

// TestOver: what a gateway answers is the answer. After one that was ended another is
// waited for, and none is started: if none comes, its last word is the error.
func TestOver(t *testing.T) {
	t.Setenv(api.EnvStateDir, filepath.Join(t.TempDir(), "none"))
	ending := &api.Error{Code: api.CodeEnding, Message: "the gateway ends"}
	for _, c := range []struct {
		says error
		wait time.Duration
	}{
		{nil, 0},
		{errors.New("no such thing"), 0},
		{&api.Error{Code: api.CodeNotFound, Message: "no such sandbox"}, 0},
		{ending, patience},
	} {
		synctest.Test(t, func(t *testing.T) {
			began, asked := time.Now(), 0
			err := Over(t.Context(), nil, func(*api.Client) error { asked++; return c.says })
			waited := time.Since(began)
			if err != c.says || asked != 1 || waited < c.wait || waited > c.wait+2*pause {
				t.Errorf("%v: %v after %v, asked %d times", c.says, err, waited, asked)
			}
		})
	}
}

// TestOverEnds: who gives up while the next gateway is waited for does not wait on.
func TestOverEnds(t *testing.T) {
	t.Setenv(api.EnvStateDir, filepath.Join(t.TempDir(), "none"))
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), pause/2)
		defer cancel()
		began := time.Now()
		err := Over(ctx, nil, func(*api.Client) error { return &api.Error{Code: api.CodeEnding} })
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > pause {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}
