package images

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"openshell-vm/drivers/vm/images/store"
	"openshell-vm/internal/fault"
	"openshell-vm/internal/text"
	"openshell-vm/internal/vocab"
)

// Client has a process of its own pull an image.
type Client struct {
	Program string // path of openshell-image
}

// Pull pulls an image. report may be nil. An image that the program found here may have been
// removed since: then it is asked once more.
func (c Client) Pull(ctx context.Context, q Request, report func(vocab.PullProgress)) (store.Image, error) {
	image, err := c.run(ctx, q, report)
	if errors.Is(err, store.ErrNotFound) {
		image, err = c.run(ctx, q, report)
	}
	if err != nil {
		return image, &fault.Error{Op: "use the image " + q.Reference, Err: err, Hint: fault.HintOf(err)}
	}
	return image, nil
}

func (c Client) run(ctx context.Context, q Request, report func(vocab.PullProgress)) (store.Image, error) {
	cmd := exec.CommandContext(ctx, c.Program)
	var said bytes.Buffer
	cmd.Stderr = &beginning{to: &said}
	in, err := cmd.StdinPipe()
	if err != nil {
		return store.Image{}, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return store.Image{}, err
	}
	if err := cmd.Start(); err != nil {
		return store.Image{}, &fault.Error{Err: err, Hint: "see that " + Program + " is installed beside openshell-vmm"}
	}
	defer cmd.Wait()  // the pipes are read to their end before
	defer out.Close() // nobody reads what else it says
	defer in.Close()  // it ends then, if it has not yet
	if err := json.NewEncoder(in).Encode(q); err != nil {
		return store.Image{}, err
	}
	bounded := &io.LimitedReader{R: out}
	for reports := json.NewDecoder(bounded); ; {
		var r Report
		bounded.N = maxReport
		if err := reports.Decode(&r); err != nil {
			in.Close()
			out.Close()
			err = errors.Join(ctx.Err(), cmd.Wait())
			return store.Image{}, fmt.Errorf("%s ended without an answer: %v: %s", Program, err, text.Line(said.String()))
		}
		switch {
		case r.Progress != nil && report != nil:
			r.Progress.Status, r.Progress.Layer = text.Line(r.Progress.Status), text.Line(r.Progress.Layer)
			report(*r.Progress)
		case r.Image != nil:
			return made(q, *r.Image)
		case r.Problem != nil:
			return store.Image{}, &fault.Error{Err: errors.New(text.Line(r.Problem.Message)), Hint: text.Line(r.Problem.Hint)}
		}
	}
}

// maxReport bounds a report, in bytes: a configuration is in it.
const maxReport = 32 << 20

// made is the image that the program says it has made. What says so has read what is hostile,
// so nothing is taken from it but which image it is.
func made(q Request, said store.Image) (store.Image, error) {
	if q.ID != "" && q.ID != said.ID {
		return store.Image{}, fmt.Errorf("%s gave another image than it was asked for", Program)
	}
	image, err := store.Open(q.Dir).Image(said.ID)
	if err == nil && said.Digest != "" {
		_, err = v1.NewHash(said.Digest)
	}
	image.Digest = said.Digest
	return image, err
}

// beginning keeps the beginning of what is written to it.
type beginning struct{ to *bytes.Buffer }

func (t *beginning) Write(p []byte) (int, error) {
	t.to.WriteString(strings.TrimSpace(string(p[:min(len(p), max(0, 4096-t.to.Len()))])))
	return len(p), nil
}
