// Package metrics counts: what /metrics gives, and what status and the idle end go by. It
// names no sandbox: ten thousand would be ten thousand series.
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
}

// New makes them, without what Count counts: see Watch.
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
	m.Registry.MustRegister(m.published, m.failures, m.repairs)
	return m
}

// Published counts a publish that worked.
func (m *Metrics) Published(took time.Duration) { m.published.Observe(took.Seconds()) }

// Failed counts a renewal that failed.
func (m *Metrics) Failed() { m.failures.Inc() }

// Repaired counts a token that nothing was going to renew.
func (m *Metrics) Repaired() { m.repairs.Inc() }

// Watch adds what a census counts.
func (m *Metrics) Watch(c *Census) { m.Registry.MustRegister(c) }

// Handler gives them in Prometheus' text format.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.Registry, promhttp.HandlerOpts{})
}
