package monitor

import (
	"encoding/json"
	"io"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/internal/stream"
)

// finish makes the exit known: the rest of the output, then the disk, then the
// clients.
func (m *monitor) finish(e Exit) {
	select {
	case <-m.stdioEnd:
	case <-time.After(m.cfg.StopGrace):
		m.log.Warn("the workload's output did not end in time")
	}
	if e.Reason != "" && e.State == drivers.Exited {
		m.stdio.Write(appendRecords(nil, time.Now(), stream.Stderr, []byte("openshell-vm: "+e.Reason+"\n")))
	}
	m.conclude(e)
	m.stdio.Close()
}

// conclude writes the exit status and lets the clients see it.
func (m *monitor) conclude(e Exit) {
	r := m.report()
	e.StartedAt, e.SeenGeneration, e.Attempt = r.StartedAt, r.SeenGeneration, m.cfg.Attempt
	e.ExitedAt = time.Now()
	if err := e.write(m.cfg.Dir); err != nil {
		m.log.Error("the exit status cannot be kept", "error", err)
	}
	m.exit = e
	m.update(func(r *Report) { r.State = e.State })
	m.log.Info("ended", "state", e.State, "code", e.ExitCode, "reason", e.Reason)
	close(m.ended)
}

// hangUp lets the clients read the rest, within reason.
func (m *monitor) hangUp() {
	m.ports.close()
	read := make(chan struct{})
	go func() {
		m.clients.Wait()
		close(read)
	}()
	select {
	case <-read:
	case <-time.After(5 * time.Second):
	}
}

// tell writes the one line of the report pipe. Nobody may be left to read it.
func (m *monitor) tell(ready io.WriteCloser, r Ready) {
	defer ready.Close()
	if err := json.NewEncoder(ready).Encode(r); err != nil {
		m.log.Info("nobody waits for the report", "error", err)
	}
}
