// Package podman runs sandboxes as Podman containers, rootful or rootless,
// through the API of a Podman service of version 4 or later.
//
// The service is the one at Config.Host, else at CONTAINER_HOST, else at the
// user's usual socket, else at root's. One behind ssh is refused at once. One that
// does not see this host's directories is refused at the first start.
//
// Rootless, the container's root is this user, who owns the share. The service's
// containers.conf may ask for a user namespace (auto, keep-id). That works, since
// everybody inside may read a share. If a share's mode is narrower, and its owner
// is not in the namespace, the start is refused.
//
// Of Podman's bindings only the connection is used. The request types are our own:
// the bindings' functions need build tags, headers of gpgme or btrfs, and three
// times as many packages.
package podman

import (
	"openshell-vm/drivers"
	"openshell-vm/drivers/container"
)

// Config says which service and whose sandboxes.
type Config struct {
	GatewayID string // sandboxes of other gateways are not touched
	Host      string // as CONTAINER_HOST; "" to find it as podman --remote does
}

// Driver is a drivers.Driver with all optional interfaces. It connects at its
// first use and is safe for concurrent use.
type Driver struct{ *container.Driver }

// New makes a driver. It does not fail where there is no service: Probe and
// every other method say so.
func New(c Config) *Driver {
	return &Driver{container.New(&engine{host: c.Host}, c.GatewayID)}
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
