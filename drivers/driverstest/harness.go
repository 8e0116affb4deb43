// Package driverstest is the one conformance suite that every driver passes on
// its real engine. A driver's e2e test describes the engine in a Harness and
// calls Run. The suite publishes real generations with package share, watches
// them from inside with a static witness program, and breaks things with the
// harness's hooks.
//
// It is the one place under drivers that may import share, since it is for tests.
package driverstest

import (
	"io"
	"testing"

	"openshell-vm/drivers"
)

// OwnNetns is the suite's own network namespace.
func OwnNetns() string { return "" }

// Harness is one driver on one engine. A hook is nil if the engine has no such thing.
// The cases that need it are reported as not applicable.
type Harness struct {
	// Name heads the table: "docker 20.10, rootful".
	Name string

	// New gives a driver for this gateway's sandboxes, as a gateway that has
	// just started would make it.
	New func(gatewayID string) drivers.Driver

	// Dir is an empty directory for the suite's state and sources, where the
	// engine can see mounts made later. The suite clears it.
	Dir string

	// Complete fills in what a spec needs on this engine: an image or a root,
	// further Hidden directories.
	Complete func(t testing.TB, s *drivers.Spec)

	// Witness brings the static program at host into the sandbox and returns
	// its path there. Nil for a read-only mount.
	Witness func(t testing.TB, host string, s *drivers.Spec) string

	// RestartEngine ends the engine as a crash would and starts it again.
	RestartEngine func(t testing.TB)

	// RemoveBehind removes the sandbox without asking the driver.
	RemoveBehind func(t testing.TB, id string)

	// Impostor runs somebody else's container, which ends at once with 3. It is gone
	// at the test's end. Its labels are the image's or its own. name may be "".
	Impostor func(t testing.TB, name string, labels map[string]string, onImage bool)

	// Load gives the engine an image of its own, from an archive as docker save writes it,
	// until the end of the test. Nil for a driver that fetches images from a registry on
	// loopback: the test engines have a loopback of their own.
	Load func(t testing.TB, ref string, archive io.Reader)

	// Metadata is all that the engine keeps about a sandbox: its inspect, its
	// files.
	Metadata func(t testing.TB, id string) []byte

	// Limits are what can't be done in a directory that can be written to, by the witness's
	// name for it, with words of the error.
	Limits map[string]string

	// Blind says that the engine sees no mounts of the suite's but those below Dir.
	Blind bool

	// Guest says that a sandbox is a VM: its files can be copied only while it runs.
	Guest bool

	// Uncounted says that the engine can't count what a sandbox uses on such a host.
	Uncounted bool

	// LosesOwners says that the engine gives all files that it copies out to one user.
	LosesOwners bool

	// Netns is the file of the network namespace in which the engine publishes ports:
	// OwnNetns, or the engine's. Nil if it can't here.
	Netns func() string

	// Server is an address of that namespace at which the suite may serve, and at whose port 53
	// sandboxes ask for names. Without one, the driver's own test calls ByName.
	Server string

	// RootIsRoot says that root inside is root on the host, whoever runs the driver.
	RootIsRoot bool

	// Mountable says that the suite may mount file systems below Dir.
	Mountable bool
}
