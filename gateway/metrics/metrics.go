// Package metrics counts for /metrics, for status, and for the decision to end when idle.
// No metric has a label for a sandbox: ten thousand sandboxes would be ten thousand series.
package metrics

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics are one gateway's. They are safe for concurrent use.
type Metrics struct {
	Registry  *prometheus.Registry
	published prometheus.Histogram
	failures  prometheus.Counter
	repairs   prometheus.Counter
	seen      prometheus.Histogram
	unseen    prometheus.Counter
	untold    prometheus.Counter
}

// New makes the metrics of publishes and renewals. Watch adds the others.
func New() *Metrics {
	m := &Metrics{
		Registry: prometheus.NewRegistry(),
		published: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "openshell_publish_seconds", Help: "Time of a successful mint and publish.",
			Buckets: []float64{0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3},
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "openshell_publish_failures_total", Help: "Renewals that failed and are retried.",
		}),
		repairs: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "openshell_schedule_repairs_total",
			Help: "Tokens that were not going to be renewed and had to be: a fault of the gateway's. 0 if all is well.",
		}),
	}
	m.seen = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "openshell_seen_seconds", Help: "Time from a publish until a running sandbox was known to see it.",
		Buckets: []float64{0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 2, 3, 6, 10, 30},
	})
	m.unseen = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "openshell_unseen_total", Help: "Times that a running sandbox did not see what was published within its driver's bound.",
	})
	m.untold = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "openshell_on_renew_failures_total", Help: "Times that what --on-renew asks for failed.",
	})
	m.Registry.MustRegister(m.published, m.failures, m.repairs, m.seen, m.unseen, m.untold)
	return m
}

// Published records a successful publish and its time.
func (m *Metrics) Published(took time.Duration) { m.published.Observe(took.Seconds()) }

// Failed counts a failed renewal.
func (m *Metrics) Failed() { m.failures.Inc() }

// Seen records how long it took until a sandbox saw a publish.
func (m *Metrics) Seen(took time.Duration) { m.seen.Observe(took.Seconds()) }

// Unseen counts a sandbox that did not see a publish in time.
func (m *Metrics) Unseen() { m.unseen.Inc() }

// OnRenewFailed counts a sandbox that could not be told of a new generation.
func (m *Metrics) OnRenewFailed() { m.untold.Inc() }

// WatchUnseen adds the number of sandboxes that do not see what was published now. Call it once.
func (m *Metrics) WatchUnseen(count func() int) {
	m.Registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "openshell_sandboxes_unseen", Help: "Running sandboxes that do not see what was published within their driver's bound.",
	}, func() float64 { return float64(count()) }))
}

// Repaired counts a token that should have been on the schedule and was not.
func (m *Metrics) Repaired() { m.repairs.Inc() }

// Watch adds the metrics of a census. Call it once.
func (m *Metrics) Watch(c *Census) { m.Registry.MustRegister(c) }

// Handler serves the metrics in Prometheus' text format.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.Registry, promhttp.HandlerOpts{})
}
