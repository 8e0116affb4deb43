package images

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"openshell-vm/drivers/vm/images/block"
	"openshell-vm/drivers/vm/images/erofs"
	"openshell-vm/drivers/vm/images/room"
	"openshell-vm/drivers/vm/images/source"
	"openshell-vm/drivers/vm/images/store"
	"openshell-vm/drivers/vm/images/unpack"
	"openshell-vm/internal/vocab"
)

// atOnce is how many layers are fetched at once, as Docker does.
const atOnce = 3

// Pull carries out a request in this process: Gather, then Make. openshell-image does these
// in two processes.
func Pull(ctx context.Context, q Request, getenv func(string) string, report func(vocab.PullProgress)) (store.Image, error) {
	task, image, err := Gather(ctx, q, getenv, report)
	if err != nil || image != nil {
		return deref(image), err
	}
	defer task.Given.Close()
	return Make(ctx, task, report)
}

func deref(i *store.Image) store.Image {
	if i == nil {
		return store.Image{}
	}
	return *i
}

// Task is a Request and what has been found out for it. Who makes the image of it needs the
// source, the store, and nothing else of the host.
type Task struct {
	Request Request      `json:"request"`
	Given   source.Given `json:"given"`
	Asked   time.Time    `json:"asked"` // when; see store.SetName
}

// Gather finds out what Make needs to be told of the host; the caller closes Given. If the
// image is here already it returns that, and there is nothing to make.
func Gather(ctx context.Context, q Request, getenv func(string) string, report func(vocab.PullProgress)) (Task, *store.Image, error) {
	task := Task{Request: q, Asked: time.Now()}
	ref, err := source.Parse(q.Reference)
	if err != nil {
		return task, nil, err
	}
	s := store.Open(q.Dir)
	if !q.Fresh {
		if i, err := s.Lookup(ref.String()); err == nil && (q.ID == "" || q.ID == i.ID) {
			return task, &i, nil
		}
	}
	release, err := s.Pulling()
	if err != nil {
		return task, nil, err
	}
	defer release()
	looking := func() { report(vocab.PullProgress{Status: "Looking for " + ref.Short()}) }
	if !ref.InEngine() { // that is quick, and may have what is here already
		looking()
	}
	var had store.Image
	has := func(id v1.Hash) (has bool) {
		if had, err = s.Image(id.String()); err != nil {
			looking()
		}
		return err == nil
	}
	task.Given, err = source.Gather(ctx, ref, source.Options{TempDir: q.Dir, Getenv: getenv, Has: has})
	if err == nil {
		err = q.wants(task.Given.ID)
	}
	if err != nil {
		return task, nil, errors.Join(err, task.Given.Close())
	}
	if task.Given.ID == "" || task.Given.File != nil {
		return task, nil, nil
	}
	had.Digest = ""
	return task, &had, s.SetName(ref.String(), had.ID, had.Digest, task.Asked)
}

// wants fails if that is not the image's ID. One that is not known yet is "".
func (q Request) wants(id string) error {
	if id != "" && q.ID != "" && q.ID != id {
		return fmt.Errorf("it is another one now: %s, not %s", id, q.ID)
	}
	return nil
}

// Make makes the image. report may be called by several goroutines, one at a time.
func Make(ctx context.Context, t Task, report func(vocab.PullProgress)) (store.Image, error) {
	ref, err := source.Parse(t.Request.Reference)
	if err != nil {
		return store.Image{}, err
	}
	s := store.Open(t.Request.Dir)
	release, err := s.Pulling()
	if err != nil {
		return store.Image{}, err
	}
	p := &puller{store: s, report: report}
	image, err := p.pull(ctx, ref, t)
	release()
	s.Forget(p.useless)
	return image, err
}

// puller carries out one request.
type puller struct {
	store  *store.Store
	mu     sync.Mutex
	report func(vocab.PullProgress)
	// useless are blobs that make no image, or fill the disk. They are not kept for another try.
	useless []string
}

func (p *puller) tell(u vocab.PullProgress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.report(u)
}

func (p *puller) pull(ctx context.Context, ref source.Reference, t Task) (store.Image, error) {
	t.Given.TempDir = t.Request.Dir
	found, err := source.Find(ctx, ref, t.Given)
	if err != nil {
		return store.Image{}, err
	}
	defer found.Close()
	if err := t.Request.wants(found.ID.String()); err != nil {
		return store.Image{}, err
	}
	image, err := p.store.Image(found.ID.String())
	if err != nil {
		image, err = p.make(ctx, ref, found)
	} else {
		for _, l := range found.Layers {
			p.tell(vocab.PullProgress{Layer: short(l), Status: "Already exists"})
		}
	}
	if err != nil {
		return image, err
	}
	image.Digest = digest(found)
	return image, p.store.SetName(ref.String(), image.ID, image.Digest, t.Asked)
}

func digest(i *source.Image) string {
	if i.Digest == (v1.Hash{}) {
		return ""
	}
	return i.Digest.String()
}

// short names a layer as docker does.
func short(l source.Layer) string {
	h := l.Digest.Hex
	if h == "" {
		h = l.DiffID.Hex
	}
	return h[:min(12, len(h))]
}

// make makes the image. A blob that was damaged in the cache is fetched once more: a layer
// that can't be read may be of such a one.
func (p *puller) make(ctx context.Context, ref source.Reference, found *source.Image) (store.Image, error) {
	for again := true; ; again = false {
		image, layers, err := p.try(ctx, ref, found)
		if err == nil || ctx.Err() != nil {
			return image, err
		}
		fetched, damaged, refused := true, false, false
		for _, l := range layers {
			fetched = fetched && (l.err == nil || errors.Is(l.err, context.Canceled))
			refused = refused || l.reading
			damaged = damaged || l.reading && l.Remote && p.store.Damaged(l.Digest.String())
		}
		if damaged && again && fetched {
			continue
		}
		if refused && fetched || errors.Is(err, room.ErrNone) {
			p.useless = blobs(found)
		}
		return image, err
	}
}

// blobs names the layers that are kept in the store.
func blobs(i *source.Image) (digests []string) {
	for _, l := range i.Layers {
		if l.Remote {
			digests = append(digests, l.Digest.String())
		}
	}
	return digests
}

// try fetches the layers and converts them at the same time: a layer is read as soon as it
// is here.
func (p *puller) try(ctx context.Context, ref source.Reference, found *source.Image) (image store.Image, layers []*layer, err error) {
	i := store.Image{ID: found.ID.String(), Digest: digest(found), Config: found.Config, Source: ref.String(), Blobs: blobs(found)}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce + 1)
	for _, l := range found.Layers {
		layers = append(layers, &layer{p: p, ctx: ctx, Layer: l, here: make(chan struct{})})
	}
	group.Go(func() (err error) {
		image, err = p.store.Make(i, func(out *os.File) error { return convert(out, i.ID, layers) })
		return err
	})
	for _, l := range layers {
		group.Go(l.fetch)
	}
	return image, layers, group.Wait()
}

// convert writes the block image.
func convert(out *os.File, id string, layers []*layer) error {
	var all []block.Layer
	for _, l := range layers {
		all = append(all, l)
	}
	o := erofs.Options{Volume: "openshell-image"}
	sum := sha256.Sum256([]byte(id))
	copy(o.UUID[:], sum[:])
	return block.Write(out, all, o)
}

// layer is one layer on its way into a block image.
type layer struct {
	source.Layer
	p    *puller
	ctx  context.Context
	here chan struct{} // closed when it can be read
	err  error         // why it can't; set before here is closed
	// reading is set from the first byte that is read to the end, if that is as it should be.
	reading bool
}

// fetch brings the layer here, if it is elsewhere.
func (l *layer) fetch() error {
	defer close(l.here)
	if !l.Remote {
		return nil
	}
	u := vocab.PullProgress{Layer: short(l.Layer), Status: "Downloading", Total: l.Size}
	l.p.tell(u)
	told := int64(0)
	l.err = l.p.store.Fetch(l.ctx, l.Digest.String(), l.Size, l.Layer.Open, func(n int64) {
		if n-told < tellEvery && n < l.Size {
			return
		}
		told, u.Current = n, n
		l.p.tell(u)
	})
	if l.err != nil {
		l.err = fmt.Errorf("layer %s: %w", l.Name(), l.err)
		return l.err
	}
	l.p.tell(vocab.PullProgress{Layer: short(l.Layer), Status: "Download complete", Total: l.Size, Current: l.Size})
	return nil
}

// tellEvery is how many bytes come between two words on a layer.
const tellEvery = 256 << 10

// Name names the layer by the digest that its maker knows.
func (l *layer) Name() string {
	if l.Digest != (v1.Hash{}) {
		return l.Digest.String()
	}
	return l.DiffID.String()
}

// Open opens the layer's archive. At the end it is compared with its digest.
func (l *layer) Open() (io.ReadCloser, error) {
	select {
	case <-l.here:
	case <-l.ctx.Done():
		return nil, l.ctx.Err()
	}
	if l.err != nil {
		return nil, l.err
	}
	l.p.tell(vocab.PullProgress{Layer: short(l.Layer), Status: "Extracting", Total: max(0, l.Size)})
	body, err := l.body()
	if err != nil {
		return nil, err
	}
	l.reading = true
	r, err := unpack.Reader(bufio.NewReaderSize(body, 256<<10))
	if err != nil {
		body.Close()
		return nil, err
	}
	return &checked{r: r, body: body, sum: sha256.New(), l: l}, nil
}

func (l *layer) body() (io.ReadCloser, error) {
	if l.Remote {
		return l.p.store.Blob(l.Digest.String())
	}
	body, _, err := l.Layer.Open(l.ctx, 0)
	return body, err
}

// checked reads an archive, and fails at its end if it is another one than it should be.
type checked struct {
	r, body io.ReadCloser
	sum     hash.Hash
	l       *layer
	ended   bool
}

func (c *checked) Read(p []byte) (int, error) {
	if err := c.l.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.r.Read(p)
	c.sum.Write(p[:n])
	if err != io.EOF || c.ended {
		return n, err
	}
	c.ended = true
	if got := hex.EncodeToString(c.sum.Sum(nil)); got != c.l.DiffID.Hex {
		return n, fmt.Errorf("it is damaged, or was changed: what it holds has the digest sha256:%s, not %s", got, c.l.DiffID)
	}
	c.l.reading = false
	c.l.p.tell(vocab.PullProgress{Layer: short(c.l.Layer), Status: "Pull complete"})
	return n, err
}

func (c *checked) Close() error {
	return errors.Join(c.r.Close(), c.body.Close())
}
