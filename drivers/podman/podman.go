// Package podman runs sandboxes as Podman containers, rootful or rootless,
// through the API of a Podman service of version 4 or later.
//
// The service is the one at Config.Host, else at CONTAINER_HOST, else at the
// user's usual socket, else at root's. One reached over ssh is refused at once;
// one that turns out not to see this host's directories is refused at the
// first start. Rootless, the container's root is this user, who owns the
// share. A user namespace that the service's containers.conf asks for (auto,
// keep-id) works, since a share is readable for everybody inside; where its mode
// is narrower and its owner is not in the namespace, the start is refused.
//
// Of Podman's bindings only the connection is used, with request types of our
// own: the packages that have a function per request need build tags, gpgme
// or btrfs headers, and three times as many packages.
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
