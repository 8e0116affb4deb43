package docker

import (
	"context"
	"math"

	api "github.com/docker/docker/api/types/container"
)

// Limit is container.Limited's.
func (e *engine) Limit(ctx context.Context, name string, cpus float64, memory int64) error {
	_, err := e.cli.ContainerUpdate(ctx, name, api.UpdateConfig{Resources: resources(cpus, memory)})
	return wrap(err)
}

// resources are limits as Docker takes them. There is no swap beyond the memory.
func resources(cpus float64, memory int64) api.Resources {
	return api.Resources{NanoCPUs: int64(math.Round(cpus * 1e9)), Memory: memory, MemorySwap: memory}
}
