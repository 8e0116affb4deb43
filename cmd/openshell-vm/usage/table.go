package usage

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/docker/go-units"

	"openshell-vm/cmd/openshell-vm/show"
	"openshell-vm/gateway/api"
)

// Row is one sandbox at one moment.
type Row struct {
	ID         string     `json:"id"`
	Name       string     `json:"name"`
	CPUPercent *float64   `json:"cpuPercent,omitempty"` // of one CPU, since the sample before
	Usage      *api.Usage `json:"usage,omitempty"`      // nil if there is none, and Problem says why
	Problem    string     `json:"problem,omitempty"`
}

// Rows are the sandboxes in the order in which Follow got them.
func (w *Watch) Rows() []Row {
	rows := make([]Row, 0, len(w.order))
	for _, id := range w.order {
		rows = append(rows, w.all[id].row())
	}
	return rows
}

// stale is the age of a sample that is not shown any more.
const stale = 3 * Patience

func (o *watched) row() Row {
	o.mu.Lock()
	defer o.mu.Unlock()
	r := Row{ID: o.id, Name: o.name, Problem: o.problem}
	if o.last == nil || time.Since(o.last.At) > stale {
		return r
	}
	r.Usage = o.last
	if o.before != nil {
		r.CPUPercent = percent(*o.before, *o.last)
	}
	return r
}

// percent is the CPU time between two samples; nil if the sandbox was started in between.
func percent(before, last api.Usage) *float64 {
	span := last.At.Sub(before.At)
	if span <= 0 || last.CPU < before.CPU {
		return nil
	}
	p := 100 * float64(last.CPU-before.CPU) / float64(span)
	return &p
}

// unknown stands for what nobody tells, as with docker.
const unknown = "--"

// Table has docker's columns. DISK is there if a sandbox has a disk of its own.
func Table(rows []Row) *show.Table {
	columns := []string{"ID", "NAME~8", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS"}
	disks := slices.ContainsFunc(rows, func(r Row) bool { return r.Usage != nil && r.Usage.Disk != nil })
	if disks {
		columns = append(columns, "DISK")
	}
	t := show.NewTable(columns...)
	for _, r := range rows {
		cells := append([]string{r.ID, r.Name, cpu(r)}, cellsOf(r.Usage)...)
		if !disks {
			cells = cells[:len(cells)-1]
		}
		t.Add(cells...)
	}
	return t
}

func cpu(r Row) string {
	if r.CPUPercent == nil {
		return unknown
	}
	return fmt.Sprintf("%.2f%%", *r.CPUPercent)
}

// cellsOf are the columns from the memory on.
func cellsOf(u *api.Usage) []string {
	if u == nil {
		return []string{unknown + " / " + unknown, unknown, unknown, unknown, unknown, unknown}
	}
	limit, share := unknown, unknown
	if u.MemoryLimit > 0 {
		limit = units.BytesSize(float64(u.MemoryLimit))
		share = fmt.Sprintf("%.2f%%", 100*float64(u.Memory)/float64(u.MemoryLimit))
	}
	processes := unknown
	if u.Processes != nil {
		processes = strconv.FormatInt(*u.Processes, 10)
	}
	return []string{units.BytesSize(float64(u.Memory)) + " / " + limit, share,
		pair(u.Received, u.Sent), pair(u.Read, u.Written), processes, size(u.Disk)}
}

func pair(in, out *int64) string {
	if in == nil && out == nil {
		return unknown
	}
	return size(in) + " / " + size(out)
}

func size(n *int64) string {
	if n == nil {
		return unknown
	}
	return units.HumanSizeWithPrecision(float64(*n), 3)
}
