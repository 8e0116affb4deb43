//go:build !faults

// Package killpoint names the moments at which tests kill a gateway. Without the build
// tag faults there are none.
package killpoint

// At marks a moment by its name. With the build tag faults a test may kill the process
// there; without it nothing happens.
func At(string) {}

// Step returns a share.Options.Step. Without the build tag faults it is nil.
func Step() func(int) { return nil }
