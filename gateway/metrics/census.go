package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"openshell-vm/gateway/lease"
	"openshell-vm/gateway/roster"
	"openshell-vm/gateway/sandbox"
	"openshell-vm/gateway/shares"
)

// Census counts sandboxes, shares and their tokens each time it is asked. So no counter has
// to be kept up to date.
type Census struct{ roster *roster.Roster }

// NewCensus makes the census of a roster.
func NewCensus(r *roster.Roster) *Census { return &Census{r} }

var (
	descSandboxes = prometheus.NewDesc("openshell_sandboxes", "Sandboxes with a record.", nil, nil)
	descRunning   = prometheus.NewDesc("openshell_sandboxes_running", "Sandboxes that run.", nil, nil)
	descFailing   = prometheus.NewDesc("openshell_sandboxes_failing",
		"Sandboxes, and shares of the user's own, whose last renewal failed.", nil, nil)
	descShares  = prometheus.NewDesc("openshell_shares", "Shares for containers of the user's own.", nil, nil)
	descExpired = prometheus.NewDesc("openshell_sandboxes_expired",
		"Running sandboxes whose token has expired, and shares of the user's own.", nil, nil)
	descStatic = prometheus.NewDesc("openshell_static_tokens_ending",
		"Running sandboxes, and shares of the user's own, with a user's own token that expires soon or whose file holds no good one.",
		nil, nil)
	descUnread   = prometheus.NewDesc("openshell_records_unreadable", "Records that can't be used: their tokens are not renewed.", nil, nil)
	descEarliest = prometheus.NewDesc("openshell_token_earliest_expiry_timestamp_seconds",
		"When the next token in use expires if it is not renewed; 0 if none is.", nil, nil)
)

var (
	descFree    = prometheus.NewDesc("openshell_room_free_bytes", "What is free on a disk with tokens.", []string{"dir"}, nil)
	descReserve = prometheus.NewDesc("openshell_reserve_renewals",
		"Renewals that are set aside there for when it is full.", []string{"dir"}, nil)
)

// Describe implements prometheus.Collector.
func (c *Census) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descFree, descReserve, descSandboxes,
		descRunning, descShares, descFailing, descStatic, descExpired, descEarliest, descUnread} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *Census) Collect(out chan<- prometheus.Metric) {
	for _, r := range c.roster.Home.Rooms() {
		out <- prometheus.MustNewConstMetric(descFree, prometheus.GaugeValue, float64(r.Space().Free), r.Dir)
		out <- prometheus.MustNewConstMetric(descReserve, prometheus.GaugeValue, float64(r.Reserve.Len()), r.Dir)
	}
	n := c.Count(time.Now())
	earliest := 0.0
	if !n.Earliest.IsZero() {
		earliest = float64(n.Earliest.Unix())
	}
	for desc, value := range map[*prometheus.Desc]float64{
		descSandboxes: float64(n.All), descRunning: float64(n.Running), descShares: float64(n.Shares), descFailing: float64(n.Failing),
		descStatic:  float64(n.Ending),
		descExpired: float64(n.Expired), descEarliest: earliest, descUnread: float64(len(c.roster.Unread(""))),
	} {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value)
	}
}

// Counts are for metrics, status and the decision to end when idle.
type Counts struct {
	All, Running int       // sandboxes
	Failing      int       // sandboxes and shares of the user's own whose last renewal failed
	Ending       int       // users' own tokens with a problem
	Expired      int       // running sandboxes and shares of the user's own whose token has expired
	Shares       int       // shares of the user's own
	Needing      int       // why the gateway must not end: shares of the user's own, and sandboxes as Sandbox.Use says
	Earliest     time.Time // the first expiry of a token in use; zero if none is
}

// Count returns the counts at this moment.
func (c *Census) Count(now time.Time) (n Counts) {
	for _, box := range roster.Of[*sandbox.Sandbox](c.roster) {
		n.All++
		token := n.failing(box.Lease)
		running, needed := box.Use()
		if running {
			n.Running++
			n.inUse(token, now)
		}
		if needed {
			n.Needing++
		}
	}
	for _, own := range roster.Of[*shares.Share](c.roster) {
		n.Shares++
		n.Needing++ // a container may be using it
		n.inUse(n.failing(own.Lease), now)
	}
	return n
}

// failing counts a lease in Failing if its last renewal failed. It returns what is known of
// the token.
func (n *Counts) failing(l *lease.Lease) lease.Renewal {
	token, kept := l.Renewal()
	if kept && token.Failures > 0 {
		n.Failing++
	}
	if kept && token.Problem != "" {
		n.Ending++
	}
	return token
}

// inUse counts a token that something may be using, in Expired and Earliest.
func (n *Counts) inUse(token lease.Renewal, now time.Time) {
	if now.After(token.ExpiresAt) {
		n.Expired++
	}
	known := !token.ExpiresAt.IsZero()
	if known && (n.Earliest.IsZero() || token.ExpiresAt.Before(n.Earliest)) {
		n.Earliest = token.ExpiresAt
	}
}
