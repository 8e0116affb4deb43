// Package daemon makes a process of a gateway: it finds the one that runs or starts
// one (start.go), in a unit of the user's systemd (unit.go) or under a small parent
// (parent.go, supervise.go), keeps its log (logfile.go), and says what its exit codes
// mean and what a logout ends (logout.go).
//
// What it promises: any number of starts at once end with one gateway that listens.
// Who starts one is told in a line why it can't run. Once it has served it is run
// again after whatever ends it, until it ends by itself or its state directory is
// deleted.
//
// It and package gateway know nothing of each other: the program gives what one has to
// tell to the other, in gateway.Options.
package daemon
