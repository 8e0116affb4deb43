package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/internal/stream/streamtest"
)

// copier is a fake whose sandboxes have one file, /file.
type copier struct {
	*fake

	mu  sync.Mutex
	sum streamtest.Sum
	got error // how the last archive ended
}

func (c *copier) StatPath(_ context.Context, _, path string) (drivers.PathStat, error) {
	if path != "/file" {
		return drivers.PathStat{}, drivers.ErrNoPath
	}
	return drivers.PathStat{Name: "file", Size: 7}, nil
}

func (c *copier) CopyOut(_ context.Context, _, path string, w io.Writer) error {
	if path != "/file" {
		return drivers.ErrNoPath
	}
	if _, err := io.Copy(w, streamtest.NewSource(streamtest.Big)); err != nil {
		return err
	}
	return errors.New("the disk broke at last")
}

func (c *copier) CopyIn(_ context.Context, _, dir string, r io.Reader) error {
	if dir == "/stopped" {
		return drivers.ErrNotRunning
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sum = streamtest.Sum{}
	_, c.got = io.Copy(&c.sum, r)
	return c.got
}

// TestCopy: all bytes of an archive arrive, and each failure does, at its end too.
func TestCopy(t *testing.T) {
	engine := &copier{fake: newFake("fake")}
	w := newWorld(t, engine)
	w.run()
	w.create(api.CreateRequest{Name: "box"})
	ctx := t.Context()
	if stat, err := w.client.StatPath(ctx, "box", "/file"); err != nil || stat == nil || stat.Size != 7 {
		t.Errorf("%+v, %v", stat, err)
	}
	if stat, err := w.client.StatPath(ctx, "box", "/nosuch"); err != nil || stat != nil {
		t.Errorf("%+v, %v", stat, err)
	}
	_, err := w.client.StatPath(ctx, "nobox", "/file")
	refused(t, err, api.CodeNotFound, "nobox")
	_, err = w.client.StatPath(ctx, "box", "file")
	refused(t, err, api.CodeInvalid, "no absolute path")
	refused(t, w.client.CopyOut(ctx, "box", "/nosuch", io.Discard), api.CodeInvalid, "could not find the file /nosuch in sandbox box")

	var sum streamtest.Sum
	want := streamtest.NewSource(streamtest.Big)
	_, _ = io.Copy(io.Discard, want)
	refused(t, w.client.CopyOut(ctx, "box", "/file", &sum), api.CodeInternal, "the disk broke at last")
	if sum.String() != want.Sum() {
		t.Errorf("came out: %s, wanted %s", sum.String(), want.Sum())
	}
	if err := w.client.CopyIn(ctx, "box", "/", streamtest.NewSource(streamtest.Big)); err != nil {
		t.Error(err)
	}
	if engine.sum.String() != want.Sum() || engine.got != nil {
		t.Errorf("went in: %s, %v, wanted %s", engine.sum.String(), engine.got, want.Sum())
	}
	refused(t, w.client.CopyIn(ctx, "box", "/stopped", bytes.NewReader(nil)), api.CodeConflict, "box is not running")

	// An input that breaks off is no end of the archive.
	r, in := io.Pipe()
	go func() {
		_, _ = in.Write(make([]byte, 100))
		in.CloseWithError(errors.New("unplugged"))
	}()
	if err := w.client.CopyIn(ctx, "box", "/", r); err == nil || err.Error() != "unplugged" {
		t.Errorf("%v", err)
	}
	w.eventually("the driver learns of it", func() bool {
		engine.mu.Lock()
		defer engine.mu.Unlock()
		return engine.got != nil
	})
}
