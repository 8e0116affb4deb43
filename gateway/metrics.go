package gateway

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"openshell-vm/drivers"
)

// metrics are what /metrics gives. They name no sandbox: ten thousand would be
// ten thousand series.
type metrics struct {
	registry  *prometheus.Registry
	published prometheus.Histogram
	failures  prometheus.Counter
	repairs   prometheus.Counter
}

func newMetrics(g *Gateway) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		published: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "openshell_publish_seconds", Help: "Time of a successful mint and publish.",
			Buckets: []float64{0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3},
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "openshell_publish_failures_total", Help: "Renewals that failed and are retried.",
		}),
	}
	m.repairs = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "openshell_schedule_repairs_total", Help: "Tokens that were not going to be renewed and had to be: a fault of the gateway's. 0 if all is well.",
	})
	m.registry.MustRegister(m.published, m.failures, m.repairs, &census{g})
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// census counts the sandboxes when it is asked, so that nothing has to be kept
// in step.
type census struct{ g *Gateway }

var (
	descSandboxes = prometheus.NewDesc("openshell_sandboxes", "Sandboxes with a record.", nil, nil)
	descRunning   = prometheus.NewDesc("openshell_sandboxes_running", "Sandboxes that run.", nil, nil)
	descFailing   = prometheus.NewDesc("openshell_sandboxes_failing", "Sandboxes, and shares of the user's own, whose last renewal failed.", nil, nil)
	descShares    = prometheus.NewDesc("openshell_shares", "Shares for containers of the user's own.", nil, nil)
	descExpired   = prometheus.NewDesc("openshell_sandboxes_expired", "Running sandboxes whose token has expired, and shares of the user's own.", nil, nil)
	descUnread    = prometheus.NewDesc("openshell_records_unreadable", "Records that can't be used: their tokens are not renewed.", nil, nil)
	descEarliest  = prometheus.NewDesc("openshell_token_earliest_expiry_timestamp_seconds", "When the next token in use expires if it is not renewed; 0 if none is.", nil, nil)
)

var (
	descFree    = prometheus.NewDesc("openshell_room_free_bytes", "What is free on a disk with tokens.", []string{"dir"}, nil)
	descReserve = prometheus.NewDesc("openshell_reserve_renewals", "Renewals that are set aside there for when it is full.", []string{"dir"}, nil)
)

func (c *census) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descFree, descReserve, descSandboxes, descRunning, descShares, descFailing, descExpired, descEarliest, descUnread} {
		out <- d
	}
}

func (c *census) Collect(out chan<- prometheus.Metric) {
	for _, r := range c.g.home.Rooms() {
		out <- prometheus.MustNewConstMetric(descFree, prometheus.GaugeValue, float64(r.Space().Free), r.Dir)
		out <- prometheus.MustNewConstMetric(descReserve, prometheus.GaugeValue, float64(r.Reserve.Len()), r.Dir)
	}
	n := c.g.count(time.Now())
	earliest := 0.0
	if !n.earliest.IsZero() {
		earliest = float64(n.earliest.Unix())
	}
	for desc, value := range map[*prometheus.Desc]float64{
		descSandboxes: float64(n.all), descRunning: float64(n.running), descShares: float64(n.shares), descFailing: float64(n.failing),
		descExpired: float64(n.expired), descEarliest: earliest, descUnread: float64(len(c.g.unread(""))),
	} {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value)
	}
}

// counts are for metrics, status and the idle end.
type counts struct {
	all, running, failing, expired int // sandboxes, but failing and expired are of shares of the user's own too
	shares                         int // of the user's own
	needing                        int // why the gateway must not end: running, or should be running or gone
	earliest                       time.Time
}

func (g *Gateway) count(now time.Time) counts {
	g.mu.RLock()
	defer g.mu.RUnlock()
	n := counts{}
	for _, s := range g.sandboxes {
		s.mu.Lock()
		n.add(s, now)
		s.mu.Unlock()
	}
	return n
}

// add counts one sandbox, whose lock the caller holds.
func (n *counts) add(s *sandbox, now time.Time) {
	own := s.record.Own() // whether its container runs, nobody here knows
	running := s.status.State == drivers.Running || own
	if running || s.needsLook() || s.clients > 0 || s.doing != "" {
		n.needing++
	}
	if s.token.Failures > 0 && s.renewed() {
		n.failing++
	}
	switch {
	case own:
		n.shares++
	case running:
		n.all++
		n.running++
	default:
		n.all++
		return
	}
	if now.After(s.token.ExpiresAt) {
		n.expired++
	}
	if n.earliest.IsZero() || s.token.ExpiresAt.Before(n.earliest) {
		n.earliest = s.token.ExpiresAt
	}
}
