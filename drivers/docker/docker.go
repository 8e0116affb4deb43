// Package docker runs sandboxes as containers of a Docker engine.
//
// The engine is the one that the docker command would take: Config.Host, else
// DOCKER_HOST, else the context of DOCKER_CONTEXT or config.json, else the
// system's socket, else the user's rootless one. Any API from 1.40 on (Docker
// 19.03) will do. An engine behind ssh is refused at once. One that does not see
// this host's directories is refused at the first start.
//
// Mounts go through the Mounts API, where a source that vanished is an error. Binds
// would make an empty directory in its place. The Mounts API has no SELinux label.
// So under SELinux this package labels the share itself: for sharing, as :z would,
// and never privately, as :Z would.
package docker

import (
	"openshell-vm/drivers"
	"openshell-vm/drivers/container"
)

// Config says which engine and whose sandboxes.
type Config struct {
	GatewayID string // sandboxes of other gateways are not touched
	Host      string // as DOCKER_HOST; "" to find it as the docker command does
	Shares    string // where shares are, for Probe to say whether the engine sees it; "" if not known
}

// Driver is a drivers.Driver with all optional interfaces. It connects at its
// first use and is safe for concurrent use.
type Driver struct{ *container.Driver }

// New makes a driver. It does not fail where there is no engine: Probe and
// every other method say so.
func New(c Config) *Driver {
	return &Driver{container.New(&engine{host: c.Host, shares: c.Shares}, c.GatewayID)}
}

var _ interface {
	drivers.Driver
	drivers.Logger
	drivers.Attacher
	drivers.Execer
	drivers.Signaler
	drivers.Waiter
	drivers.Keeper
	drivers.Placed
	drivers.Surveyor
	drivers.Puller
} = (*Driver)(nil)
