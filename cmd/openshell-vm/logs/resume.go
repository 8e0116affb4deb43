package logs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"os"

	"openshell-vm/cmd/openshell-vm/gateways"
	"openshell-vm/gateway/api"
)

// follow follows a log over the ends of gateways. Each one gives the whole log from its
// beginning. What has been written of it is left out.
func follow(ctx context.Context, client *api.Client, ref string, stdout, stderr io.Writer) error {
	out, errs := newPlace(stdout), newPlace(stderr)
	again := false
	return gateways.Over(ctx, client, func(client *api.Client) error {
		if again {
			if err := resume(ctx, client, ref, out, errs); err != nil {
				return err
			}
		}
		again = true
		return client.Logs(ctx, ref, true, out, errs)
	})
}

// resume finds both places in the log as it is now. Its beginning may be another one,
// because it was cut or the sandbox was started anew. Then only what comes from now on
// is written, and that is told.
func resume(ctx context.Context, client *api.Client, ref string, out, errs *place) error {
	out.seek()
	errs.seek()
	if err := client.Logs(ctx, ref, false, &out.found, &errs.found); err != nil {
		return err
	}
	known, knownErr := out.resume(), errs.resume()
	if !known || !knownErr {
		fmt.Fprintf(os.Stderr, gateways.GapLine+"\n", ref)
	}
	return nil
}

// place is how far one stream of a log has been written.
type place struct {
	to   io.Writer
	n    int64 // bytes that came
	sum  hash.Hash
	skip int64 // bytes of what comes next that are left out

	found look
}

func newPlace(to io.Writer) *place { return &place{to: to, sum: sha256.New()} }

func (p *place) Write(data []byte) (int, error) {
	left := min(p.skip, int64(len(data)))
	p.skip -= left
	rest := data[left:]
	p.n += int64(len(rest))
	p.sum.Write(rest)
	if len(rest) == 0 {
		return len(data), nil
	}
	n, err := p.to.Write(rest)
	return int(left) + n, err
}

// seek begins to look at the log as it is now.
func (p *place) seek() { p.found = look{left: p.n, sum: sha256.New(), all: sha256.New()} }

// resume says whether what was found begins with what was written. If it does not, all
// that was found is left out.
func (p *place) resume() (known bool) {
	p.skip = p.n
	if p.found.left == 0 && bytes.Equal(p.found.sum.Sum(nil), p.sum.Sum(nil)) {
		return true
	}
	p.n, p.skip, p.sum = p.found.n, p.found.n, p.found.all
	return false
}

// look is what was found of one stream.
type look struct {
	n, left int64     // bytes that were found, and that have still to be compared
	sum     hash.Hash // of as many as were written
	all     hash.Hash // of all that were found
}

func (l *look) Write(data []byte) (int, error) {
	old := data[:min(l.left, int64(len(data)))]
	l.sum.Write(old)
	l.all.Write(data)
	l.left -= int64(len(old))
	l.n += int64(len(data))
	return len(data), nil
}
