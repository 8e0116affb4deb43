package engines

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
)

// Doctor probes every driver, and says which one auto takes and why. The caller adds the
// facts on the host.
func (e *Engines) Doctor(ctx context.Context) api.Doctor {
	reports := make([]api.DriverReport, len(e.all))
	var all sync.WaitGroup
	for i, d := range e.all {
		all.Go(func() { reports[i] = e.report(d.Name(), e.probeNow(ctx, d)) })
	}
	all.Wait()
	doctor := api.Doctor{Drivers: reports, Why: "no driver can be used here"}
	for i, r := range reports {
		if r.Usable {
			doctor.Chosen, doctor.Why = r.Name, "it is preferred and can be used"
			if i > 0 {
				doctor.Why = fmt.Sprintf("it can be used, and %s can't: %s", reports[0].Name, reports[0].Problem)
			}
			break
		}
	}
	return doctor
}

func (e *Engines) report(name string, info drivers.Info) api.DriverReport {
	return api.DriverReport{Name: name, Usable: info.Usable, Problem: info.Problem, Hint: info.Hint, Version: info.Version,
		Details: slices.Concat(info.Details, e.beside(info))}
}
