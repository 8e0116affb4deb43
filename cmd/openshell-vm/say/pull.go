package say

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/docker/go-units"

	"openshell-vm/gateway/api"
	"openshell-vm/internal/text"
)

// Pull fetches the request's image, if there is one, as the policy says. It shows how
// that goes, unless it is to be quiet.
func (p *Progress) Pull(ctx context.Context, client *api.Client, r api.CreateRequest, policy api.PullPolicy, quiet bool) error {
	if r.Image == "" {
		return nil
	}
	shown := &pulling{image: r.Image, layers: map[string]api.PullProgress{}, bar: p, lines: os.Stderr}
	p.Step("looking for " + r.Image)
	defer p.Done()
	if quiet {
		return client.Images.Pull(ctx, r, policy, func(api.PullProgress) {})
	}
	return client.Images.Pull(ctx, r, policy, shown.update)
}

// pulling is one image on its way: a bar on a terminal, elsewhere a line for
// each change of a layer's state.
type pulling struct {
	image string
	bar   *Progress // nil: plain lines
	lines io.Writer

	mu     sync.Mutex
	layers map[string]api.PullProgress
	order  []string
	began  bool
}

// update takes one report of the engine's.
func (p *pulling) update(u api.PullProgress) {
	p.mu.Lock()
	last, known := p.layers[u.Layer]
	if !known {
		p.order = append(p.order, u.Layer)
	}
	if u.Total == 0 {
		u.Current, u.Total = last.Current, last.Total
	}
	u.Total = max(0, min(u.Total, maxTotal))
	u.Current = max(0, min(u.Current, u.Total))
	if finished(u.Status) {
		u.Current = u.Total
	}
	p.layers[u.Layer] = u
	first := !p.began
	p.began = true
	p.mu.Unlock()
	switch {
	case p.bar == nil && (!known || last.Status != u.Status):
		fmt.Fprintln(p.lines, p.line(u))
	case p.bar != nil && first:
		p.bar.stepOf(p.text)
	}
}

func (p *pulling) line(u api.PullProgress) string {
	words := []string{p.image + ":"}
	if u.Layer != "" {
		words = append(words, u.Layer+":")
	}
	return text.Line(strings.Join(append(words, u.Status), " "))
}

// finished knows the engines' words for a layer that is there.
func finished(status string) bool {
	return status == "Pull complete" || status == "Already exists" || status == "Download complete"
}

const (
	barWidth = 20
	// maxTotal bounds the size that a layer is shown to have, in bytes. What is told of it is
	// a registry's word.
	maxTotal = 1 << 50
)

// text is the bar. It shows how many layers are there, and how many bytes of those whose
// size is known. If an engine reports no layers, its last word is shown.
func (p *pulling) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var layers, there int
	var current, total float64 // a sum of whole numbers could wrap
	var said string
	for _, name := range p.order {
		l := p.layers[name]
		if l.Total == 0 && !finished(l.Status) {
			said = l.Status
			continue
		}
		layers++
		current, total = current+float64(l.Current), total+float64(l.Total)
		if finished(l.Status) {
			there++
		}
	}
	if total == 0 {
		return text.Short("fetching "+p.image+": "+said, 80)
	}
	full := min(barWidth, int(barWidth*current/total))
	return fmt.Sprintf("fetching %s [%s%s] %s of %s, %d of %s", p.image, strings.Repeat("=", full), strings.Repeat(" ", barWidth-full),
		units.BytesSize(current), units.BytesSize(total), there, Plural(layers, "layer"))
}
