//go:build !faults

package gateway

// fault marks a moment at which the gateway may be killed. With the build tag
// faults, tests do that; see fault_on.go.
func fault(string) {}

// faultStep is share.Options.Step: none.
func faultStep() func(int) { return nil }
