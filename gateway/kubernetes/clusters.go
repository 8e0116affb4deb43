package kubernetes

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"openshell-vm/gateway/audit"
	"openshell-vm/gateway/config"
	"openshell-vm/gateway/oauth"
	"openshell-vm/tokens"
)

const (
	// MaxLife bounds the lifetime of what is given: nobody renews it, and who needs another one
	// asks again.
	MaxLife = 15 * time.Minute
	// leastLife is what a token must still live to be exchanged.
	leastLife = 5 * time.Second

	patience     = 5 * time.Second // for one exchange
	maxExchanges = 16              // that wait at a time for one cluster's API server
)

// Options are what clusters are made with; all are required.
type Options struct {
	Mint func(tokens.Request) (tokens.Raw, tokens.Claims, error)
	Log  *slog.Logger
}

// Clusters are those of the configuration. It is safe for concurrent use; its lock is a leaf.
type Clusters struct {
	opts Options

	mu  sync.RWMutex
	all map[string]*cluster
}

// cluster is one of them. Apart from what its check keeps, nothing in it changes.
type cluster struct {
	name     string
	settings config.Cluster
	server   *server
	check    check
}

// check is a way to learn whether a cluster vouches for a token.
type check interface {
	// vouch returns nil if the cluster vouches for all that the token claims.
	vouch(ctx context.Context, t *token) *oauth.Refusal
	// upkeep does at times what should not wait for the next token.
	upkeep()
	// status is one line for people.
	status(now time.Time) string
}

// New makes none: see Configure.
func New(opts Options) *Clusters {
	return &Clusters{opts: opts}
}

// Configure says which clusters there are. It may be called at any time, and is to be called now
// and then: it keeps what is known of those that are the same, and has their keys fetched anew.
func (c *Clusters) Configure(settings map[string]config.Cluster) {
	c.mu.Lock()
	before := c.all
	c.all = map[string]*cluster{}
	for name, s := range settings {
		one := before[name]
		switch {
		case one == nil || !one.reachedAs(s):
			one = c.newCluster(name, s)
		default: // what is known of it stays, whatever is allowed now
			same := *one
			same.settings, one = s, &same
		}
		c.all[name] = one
	}
	all := slices.Collect(maps.Values(c.all))
	c.mu.Unlock()
	for _, one := range all {
		one.check.upkeep()
	}
}

// reachedAs reports whether nothing but what is allowed differs.
func (c *cluster) reachedAs(s config.Cluster) bool {
	now := c.settings
	now.Allow, s.Allow = nil, nil
	return reflect.DeepEqual(now, s)
}

func (c *Clusters) newCluster(name string, s config.Cluster) *cluster {
	one := &cluster{name: name, settings: s, server: newServer(s, c.opts.Log.With("cluster", name))}
	if s.Check == config.ByReview {
		one.check = &reviewer{server: one.server, audience: s.Audience}
	} else {
		one.check = newKeySet(one.server, s.Issuer)
	}
	return one
}

// Any reports whether there is one.
func (c *Clusters) Any() bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.all) > 0
}

// Longest is the longest lifetime that a token may have which this gateway, or one before it, made
// for a pod of a cluster that is configured; 0 without one.
func (c *Clusters) Longest() time.Duration {
	if !c.Any() {
		return 0
	}
	return MaxLife
}

// Status is a line for each cluster, by its name.
func (c *Clusters) Status(now time.Time) map[string]string {
	c.mu.RLock()
	all := maps.Clone(c.all)
	c.mu.RUnlock()
	lines := map[string]string{}
	for name, one := range all {
		lines[name] = one.check.status(now)
	}
	return lines
}

// Exchange makes a token for an audience, for who sends a ServiceAccount's token. Its error is an
// *oauth.Refusal, or means that none can be made now. The result's Pod is set as soon as it is known,
// with an error too: as the token claims it, which may be forged if it was refused.
//
//  1. The token has the form of a JWT, and says no more of its key than the key's id.
//  2. Issuer and audience say which of the configured clusters it is of.
//  3. Its claims are whole: a pod, its ServiceAccount, times that are now.
//  4. The cluster vouches for it.
//  5. The ServiceAccount may have a token for the audience.
func (c *Clusters) Exchange(ctx context.Context, raw, audience string) (made oauth.Token, err error) {
	if strings.HasPrefix(audience, "openshell-gateway:") {
		return made, refuse(oauth.InvalidTarget, "a token for a gateway is made for its sandboxes alone")
	}
	t, bad := parse(raw) // 1
	if bad != nil {
		return made, bad
	}
	one, bad := c.clusterOf(t) // 2
	if bad != nil {
		return made, bad
	}
	made.Pod = &audit.Pod{Cluster: one.name}
	pod, bad := t.judge(one.name, time.Now()) // 3
	if bad != nil {
		return made, bad
	}
	made.Pod = &audit.Pod{Cluster: one.name, Namespace: pod.Namespace, ServiceAccount: pod.ServiceAccount, Name: pod.Name, TokenID: t.id()}
	if bad := one.vouch(ctx, t); bad != nil { // 4
		return made, bad
	}
	rule, bad := one.allows(pod, audience) // 5
	if bad != nil {
		return made, bad
	}
	return c.mint(made, tokens.Request{Pod: &pod, Audience: audience,
		Algorithm: tokens.Algorithm(rule.Algorithm), NoID: rule.NoID()}, t.expires())
}

// vouch asks the cluster, for so long.
func (c *cluster) vouch(ctx context.Context, t *token) *oauth.Refusal {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return c.check.vouch(ctx, t)
}

// mint makes the token. The cluster may have been slow, so the time is a new one.
func (c *Clusters) mint(made oauth.Token, r tokens.Request, expires time.Time) (oauth.Token, error) {
	r.Now = time.Now()
	r.TTL = min(MaxLife, expires.Sub(r.Now))
	if r.TTL < leastLife {
		return made, refuse(oauth.InvalidRequest, "the subject_token is refused: it has expired, or does so in a moment")
	}
	raw, claims, err := c.opts.Mint(r)
	if err != nil {
		c.opts.Log.Warn("no token can be made for a pod", "error", err)
		return made, fmt.Errorf("mint a token for a pod: %w", err)
	}
	made.Raw, made.Claims, made.Expires = raw, claims, claims.ExpiresAt
	return made, nil
}

// clusterOf returns the cluster whose issuer and audience a token has.
func (c *Clusters) clusterOf(t *token) (found *cluster, bad *oauth.Refusal) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	known := false
	for _, one := range c.all {
		if one.settings.Issuer != t.claims.Issuer {
			continue
		}
		known = true
		if !slices.Contains(t.claims.Audience, one.settings.Audience) {
			continue
		}
		if found != nil {
			return nil, unfit("it is for more than one cluster")
		}
		found = one
	}
	switch {
	case !known:
		return nil, unfit("its issuer is no cluster that is configured here")
	case found == nil:
		return nil, unfit("it is for another audience: the projected volume's has to be that of the cluster's configuration")
	}
	return found, nil
}

// allows returns the rule by which a pod may have a token for an audience.
func (c *cluster) allows(pod tokens.Pod, audience string) (config.Allow, *oauth.Refusal) {
	known := false
	for _, a := range c.settings.Allow {
		if a.Namespace != pod.Namespace || a.ServiceAccount != config.Every && a.ServiceAccount != pod.ServiceAccount {
			continue
		}
		known = true
		if slices.Contains(a.Audiences, audience) {
			return a, nil
		}
	}
	if !known { // RFC 8693, 2.2.2: a subject_token that is "unacceptable based on policy"
		return config.Allow{}, refuse(oauth.InvalidRequest, "nothing was allowed to this ServiceAccount")
	}
	return config.Allow{}, refuse(oauth.InvalidTarget, "no token for this audience was allowed to this ServiceAccount")
}

// Withdrawn reports whether a pod that was given a token for an audience would get none now: its
// cluster is not configured any more, or what was allowed was taken back.
func (c *Clusters) Withdrawn(pod tokens.Pod, audience string) bool {
	c.mu.RLock()
	one := c.all[pod.Cluster]
	c.mu.RUnlock()
	if one == nil {
		return true
	}
	_, bad := one.allows(pod, audience)
	return bad != nil
}

// refuse makes a refusal. The words are RFC 6749's and RFC 8693's: a token that is not good is an
// invalid_request (RFC 8693, 2.2.2), not an invalid_grant, and not an invalid_client, since who
// asks is no registered client. temporarily_unavailable and server_error are RFC 6749's words for
// what a status alone tells no client library; it defines them in 4.1.2.1, and lets 5.2 be extended.
func refuse(code, why string) *oauth.Refusal { return &oauth.Refusal{Code: code, Description: why} }

// unfit is the refusal of a token that is not good.
func unfit(why string) *oauth.Refusal {
	return refuse(oauth.InvalidRequest, "the subject_token is refused: "+why)
}
