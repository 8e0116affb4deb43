// Command openshell-vm runs sandboxes whose token is always fresh.
//
// It is thin: everything is done by openshell-gateway, which it starts when
// none listens. What is here is the user's side: flags, terminals, tables,
// exit codes. It imports nothing of this project but gateway/api.
//
// Exit codes are the workload's own where there is one (128+n for signal n,
// 126 and 127 when it could not be executed or found), 125 for an error of
// openshell-vm's, and 1 where a question was answered with no (token verify,
// doctor, gateway status).
package main

import (
	"context"
	"fmt"
	"os"
)

// version is set by the linker.
var version = "dev"

func main() { os.Exit(run(os.Args)) }

// run is main without the exit: it reports any error on standard error and
// returns the exit code.
func run(args []string) int {
	app := newApp()
	if len(args) > 1 && args[1] == completeCommand {
		complete(os.Stdout, app, args[2:])
		return 0
	}
	arranged, err := arrange(app, args)
	if err == nil {
		err = app.RunContext(context.Background(), arranged)
	}
	failClosed(os.Stdout, args, err)
	return report(os.Stderr, err)
}

// withoutNil is for lists that JSON shows as [] and not as null.
func withoutNil[T any](list []T) []T { return append([]T{}, list...) }

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
