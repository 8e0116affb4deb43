package gateway

import (
	"context"
	"time"
)

// upkeepEvery is how often the gateway looks after itself.
const upkeepEvery = 10 * time.Second

// upkeep ends the gateway when nothing has needed it for a while or its state
// directory was deleted, takes away what is left of shares, forgets keys whose last token has expired, and sees
// that all is renewed that should be.
func (g *Gateway) upkeep(ctx context.Context) error {
	every := upkeepEvery
	if g.opts.IdleAfter > 0 {
		every = min(every, max(g.opts.IdleAfter/4, time.Millisecond))
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	pruned := time.Time{}
	for {
		g.tidyShares(ctx)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		if err := g.deleted(); err != nil {
			return err
		}
		for _, s := range g.all() {
			g.uphold(s)
		}
		now := time.Now()
		if now.Sub(pruned) > time.Hour {
			pruned = now
			if err := g.keys.Prune(now); err != nil {
				g.log.Warn("old keys can't be deleted", "error", oneLine(err))
			}
		}
		if g.idle(now) {
			g.log.Info("nothing needs the gateway: it ends", "after", g.opts.IdleAfter)
			g.Stop()
		}
	}
}

// idle says whether nothing needed the gateway for IdleAfter. A need counts as
// a use.
func (g *Gateway) idle(now time.Time) bool {
	if g.opts.IdleAfter <= 0 {
		return false
	}
	if g.count(now).needing > 0 {
		g.touch()
		return false
	}
	return now.Sub(time.Unix(0, g.lastUse.Load())) >= g.opts.IdleAfter
}
