// Package daemon runs a gateway as a process in the background. It finds the gateway that
// runs or starts one (start.go), in a unit of the user's systemd (unit.go) or under a small
// parent (parent.go, supervise.go). It opens the gateway's log (logfile.go), defines the
// exit codes (supervise.go), and knows what ends at a logout (logout.go).
//
// What it promises: any number of starts at the same time end with one gateway that listens.
// Whoever starts a gateway is told in one line why it can't run. A gateway that has served
// is run again after any end, until it ends by itself or its state directory is deleted.
//
// Packages daemon and gateway do not know each other. The program passes on what one has to
// tell the other, in gateway.Options.
package daemon
