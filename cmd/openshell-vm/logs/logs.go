// Package logs prints a workload's stored output: all or the end of it, and what comes.
package logs

import (
	"context"
	"os"

	"openshell-vm/gateway/api"
)

// All prints all lines.
const All = -1

// Print prints the last lines of what is stored, All or so many. With more, it goes on
// until the sandbox ends, also over the ends of gateways.
func Print(ctx context.Context, client *api.Client, ref string, last int, more bool) error {
	switch {
	case more && last == All:
		return follow(ctx, client, ref, os.Stdout, os.Stderr)
	case more:
		return followTail(ctx, client, ref, last)
	case last == All:
		return client.Logs(ctx, ref, false, os.Stdout, os.Stderr)
	}
	var end tail
	if err := client.Logs(ctx, ref, false, end.to(os.Stdout, last), end.to(os.Stderr, last)); err != nil {
		return err
	}
	return end.print(last)
}
