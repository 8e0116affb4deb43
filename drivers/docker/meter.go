package docker

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	api "github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/versions"

	"openshell-vm/drivers"
)

// oneShotAPI answers at once. Older engines first take a second sample.
const oneShotAPI = "1.41"

func (e *engine) Usage(ctx context.Context, name string) (drivers.Usage, error) {
	cli, err := e.client()
	if err != nil {
		return drivers.Usage{}, err
	}
	ask := cli.ContainerStatsOneShot
	if versions.LessThan(cli.ClientVersion(), oneShotAPI) {
		ask = func(ctx context.Context, name string) (api.StatsResponseReader, error) {
			return cli.ContainerStats(ctx, name, false)
		}
	}
	answer, err := ask(ctx, name)
	if err != nil {
		return drivers.Usage{}, wrap(err)
	}
	defer answer.Body.Close()
	var s api.StatsResponse
	if err := json.NewDecoder(answer.Body).Decode(&s); err != nil {
		return drivers.Usage{}, err
	}
	return usageOf(s), nil
}

// usageOf counts as docker stats does. What the kernel only caches is no memory of the
// container's.
func usageOf(s api.StatsResponse) drivers.Usage {
	cached := s.MemoryStats.Stats["inactive_file"] // cgroups of version 2
	if total, v1 := s.MemoryStats.Stats["total_inactive_file"]; v1 {
		cached = total
	}
	u := drivers.Usage{
		At: s.Read, CPU: time.Duration(s.CPUStats.CPUUsage.TotalUsage),
		Memory: int64(s.MemoryStats.Usage - min(cached, s.MemoryStats.Usage)), MemoryLimit: int64(s.MemoryStats.Limit),
	}
	processes := int64(s.PidsStats.Current)
	u.Processes = &processes
	var received, sent, read, written int64
	for _, n := range s.Networks {
		received, sent = received+int64(n.RxBytes), sent+int64(n.TxBytes)
	}
	u.Received, u.Sent = &received, &sent
	for _, b := range s.BlkioStats.IoServiceBytesRecursive {
		switch strings.ToLower(b.Op) {
		case "read":
			read += int64(b.Value)
		case "write":
			written += int64(b.Value)
		}
	}
	u.Read, u.Written = &read, &written
	return u
}
