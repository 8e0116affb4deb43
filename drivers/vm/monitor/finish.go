package monitor

import (
	"encoding/json"
	"io"
	"time"

	"openshell-vm/drivers/vm/monitor/api"
	"openshell-vm/drivers/vm/monitor/logs"
)

// finish makes the exit known. First it takes the rest of the output, then it writes
// the exit to disk, then it tells the clients.
func (m *monitor) finish(e Exit) {
	m.stdio.Release()
	select {
	case <-m.stdioEnd:
	case <-time.After(m.cfg.StopGrace):
		m.log.Warn("the workload's output did not end in time")
		m.stdio.Write(logs.Late())
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
	m.update(func(r *api.Report) { r.State = e.State })
	m.log.Info("ended", "state", e.State, "code", e.ExitCode, "reason", e.Reason)
	close(m.ended)
}

// clientGrace is how long clients may take to read the rest. After that the sandbox
// may be started again, or removed, without waiting for them.
const clientGrace = 5 * time.Second

// hangUp lets the clients read the rest. After clientGrace it calls leave, which gives
// up all that another monitor of this sandbox needs. What is left is a process that
// ends with its last client.
func (m *monitor) hangUp(leave func()) {
	m.ports.close()
	read := make(chan struct{})
	go func() {
		m.clients.Wait()
		close(read)
	}()
	select {
	case <-read:
	case <-time.After(clientGrace):
		m.log.Info("a client still reads; another monitor may use the sandbox's files from now on")
		leave()
		<-read
	}
}

// tell writes the one line of the report pipe. Perhaps nobody reads it any more.
func (m *monitor) tell(ready io.WriteCloser, r api.Ready) {
	defer ready.Close()
	if err := json.NewEncoder(ready).Encode(r); err != nil {
		m.log.Info("nobody waits for the report", "error", err)
	}
}
