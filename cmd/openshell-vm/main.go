// Command openshell-vm runs sandboxes whose token is always fresh.
//
// It is thin: everything is done by openshell-gateway, which it starts when
// none listens. What is here is the user's side: flags, terminals, tables,
// exit codes. It imports nothing of this project but gateway/api and the leaf
// internal/text.
//
// Package main is the commands about sandboxes, each with its flags and its examples. Below it
// lie the commands about other things:
//
//	images, volumes, shares, secrets
//	identity  token and keys
//	daemon    gateway and doctor
//
// and what they share:
//
//	frame     the way to the gateway, a list, one thing done to each that is named
//	request   what run and create ask for
//	project   the same in a file, openshell.toml, and the consent to it
//	cmdline   how a command line is read, and completed
//	habits    what docker's and podman's words are answered with
//	say       errors and hints, warnings, what is under way
//	show      tables, facts, JSON
//	session   a terminal or pipes connected to a workload
//	copying   files from and to a sandbox
//	usage     what sandboxes use
//	logs      a workload's stored output
//	gateways  what outlives a gateway
//
// Exit codes are the workload's own where there is one (128+n for signal n,
// 126 and 127 when it could not be executed or found), 125 for an error of
// openshell-vm's, and 1 where a question was answered with no (token verify,
// doctor, gateway status).
package main

import (
	"context"
	"os"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/frame"
	"openshell-vm/cmd/openshell-vm/project"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/cmd/openshell-vm/shares"
)

// version is set by the linker.
var version = "dev"

func main() {
	frame.Version = version
	os.Exit(run(os.Args))
}

// run is main without the exit: it reports any error on standard error and
// returns the exit code.
func run(args []string) int {
	app := newApp()
	if len(args) > 1 && args[1] == cmdline.CompleteCommand {
		cmdline.Complete(os.Stdout, app, args[2:])
		return 0
	}
	arranged, err := cmdline.Arrange(app, args)
	if err == nil {
		arranged, err = project.Splice(arranged)
	}
	if err == nil {
		err = app.RunContext(context.Background(), arranged)
	}
	shares.FailClosed(os.Stdout, args, err)
	return say.Report(os.Stderr, err)
}
