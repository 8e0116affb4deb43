package podman

import (
	"context"
	"errors"
	"net/http"
	"time"

	"openshell-vm/drivers"
)

// stats is the part of Podman's answer that matters here. Podman 5 counts networks by
// interface, and older ones together.
type stats struct {
	CPUNano             int64
	MemUsage, MemLimit  int64
	NetInput, NetOutput int64
	Network             map[string]struct{ RxBytes, TxBytes int64 }

	BlockInput, BlockOutput, PIDs int64
}

func (e *engine) Usage(ctx context.Context, name string) (drivers.Usage, error) {
	var answer struct {
		Error any
		Stats []stats
	}
	if err := e.ask(ctx, http.MethodGet, "/containers/stats", values("containers", name, "stream", "false"), &answer); err != nil {
		return drivers.Usage{}, err
	}
	if len(answer.Stats) != 1 {
		return drivers.Usage{}, errors.New("the service counts nothing for it")
	}
	return answer.Stats[0].usage(), nil
}

func (s stats) usage() drivers.Usage {
	for _, n := range s.Network {
		s.NetInput, s.NetOutput = s.NetInput+n.RxBytes, s.NetOutput+n.TxBytes
	}
	return drivers.Usage{
		At: time.Now(), CPU: time.Duration(s.CPUNano), Memory: s.MemUsage, MemoryLimit: s.MemLimit,
		Received: &s.NetInput, Sent: &s.NetOutput, Read: &s.BlockInput, Written: &s.BlockOutput, Processes: &s.PIDs,
	}
}
