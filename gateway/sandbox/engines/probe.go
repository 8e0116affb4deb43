package engines

import (
	"context"
	"sync"
	"time"

	"openshell-vm/drivers"
)

const (
	probeDeadline = 10 * time.Second
	// probeKept is how long a probe's result holds, if the driver was usable.
	probeKept = 30 * time.Second
)

// probeCache keeps the probes of usable drivers. A probe may take longer than the start of
// a container.
type probeCache struct {
	mu    sync.Mutex
	found map[string]probed
}

type probed struct {
	info drivers.Info
	at   time.Time
}

// probe returns what a driver's probe found now, or less than probeKept ago.
func (e *Engines) probe(ctx context.Context, d drivers.Driver) drivers.Info {
	e.probes.mu.Lock()
	last, ok := e.probes.found[d.Name()]
	e.probes.mu.Unlock()
	if ok && time.Since(last.at) < probeKept {
		return last.info
	}
	return e.probeNow(ctx, d)
}

// probeNow probes the driver, and keeps the result if the driver is usable.
func (e *Engines) probeNow(ctx context.Context, d drivers.Driver) drivers.Info {
	bounded, cancel := context.WithTimeout(ctx, probeDeadline)
	defer cancel()
	info := d.Probe(bounded)
	e.probes.mu.Lock()
	defer e.probes.mu.Unlock()
	if e.probes.found == nil {
		e.probes.found = map[string]probed{}
	}
	delete(e.probes.found, d.Name())
	if info.Usable {
		e.probes.found[d.Name()] = probed{info, time.Now()}
	}
	return info
}
