package say

import (
	"context"
	"sync/atomic"
	"time"

	"openshell-vm/gateway/api"
)

// FollowStart says what is under way. Of a start that takes long it also says what it is
// at. It asks the gateway for that, if there is a terminal to tell it.
func (p *Progress) FollowStart(ctx context.Context, client *api.Client, doing, ref string) (stop func()) {
	if p == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var at atomic.Value
	at.Store("")
	p.stepOf(func() string { return doing + at.Load().(string) })
	go func() {
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if s, err := client.Get(ctx, ref); err == nil {
				at.Store(colon(s.Progress))
			}
		}
	}()
	return func() { cancel(); p.Done() }
}

// colon puts a remark behind what it is about.
func colon(remark string) string {
	if remark == "" {
		return ""
	}
	return ": " + remark
}
