package store

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"openshell-vm/drivers/vm/images/room"
)

// fetching makes a store and the path of the part of data.
func fetching(t *testing.T, data []byte) (s *Store, part string) {
	t.Helper()
	s = Open(t.TempDir())
	if err := s.make(); err != nil {
		t.Fatal(err)
	}
	return s, s.path("blobs", digest(data)[7:]+".part")
}

// TestTriesAgain: a connection that breaks is made anew; what the registry answered counts.
func TestTriesAgain(t *testing.T) {
	data := []byte("0123456789")
	asked := func(err error) error { return &url.Error{Op: "Get", URL: "https://r", Err: err} }
	for name, test := range map[string]struct {
		err   error
		tries int
		kept  bool
	}{
		"refused":     {asked(syscall.ECONNREFUSED), tries, true},
		"reset":       {asked(syscall.ECONNRESET), tries, true},
		"cut":         {asked(io.ErrUnexpectedEOF), tries, true},
		"overloaded":  {&transport.Error{StatusCode: http.StatusServiceUnavailable}, tries, true},
		"not there":   {&transport.Error{StatusCode: http.StatusNotFound}, 1, false},
		"not for you": {&transport.Error{StatusCode: http.StatusForbidden}, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, part := fetching(t, data)
				n := 0
				err := s.Fetch(t.Context(), digest(data), int64(len(data)), func(_ context.Context, from int64) (io.ReadCloser, int64, error) {
					if n++; n == 1 && test.kept {
						return io.NopCloser(bytes.NewReader(data[:4])), 0, nil
					}
					return nil, 0, test.err
				}, func(int64) {})
				if test.kept {
					n-- // the one that brought something
				}
				if !errors.Is(err, test.err) || n != test.tries {
					t.Errorf("%d tries: %v", n, err)
				}
				if _, err := os.Stat(part); test.kept != (err == nil) {
					t.Errorf("the part: %v", err)
				}
			})
		})
	}
}

// TestFetchLeavesRoom: what does not fit is not begun, and what fills the disk on the way
// is removed.
func TestFetchLeavesRoom(t *testing.T) {
	data := bytes.Repeat([]byte("x"), 2*room.Every)
	whole := func(context.Context, int64) (io.ReadCloser, int64, error) {
		return io.NopCloser(bytes.NewReader(data)), 0, nil
	}
	for name, free := range map[string]func(asked int) uint64{
		"does not fit":     func(int) uint64 { return room.Min + uint64(len(data)) - 1 },
		"others take more": func(asked int) uint64 { return uint64(room.Min + 3*room.Every*max(0, 2-asked) - 1) },
	} {
		t.Run(name, func(t *testing.T) {
			s, part := fetching(t, data)
			asked := 0
			s.free = func(*os.File) (uint64, error) { asked++; return free(asked), nil }
			opened := false
			err := s.Fetch(t.Context(), digest(data), int64(len(data)), func(ctx context.Context, from int64) (io.ReadCloser, int64, error) {
				opened = true
				return whole(ctx, from)
			}, func(int64) {})
			if !errors.Is(err, room.ErrNone) || opened != (asked > 1) {
				t.Errorf("asked %d times, opened %v: %v", asked, opened, err)
			}
			if _, err := os.Stat(part); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the part: %v", err)
			}
		})
	}
}
