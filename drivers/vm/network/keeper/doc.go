// Package keeper keeps a VM's network process running. It is the monitor's part of the
// network.
//
// When the process dies, the guest goes on: its card's socket and the listening sockets
// stay here, and the next process gets them. The guest's connections of that time are
// gone.
//
// What the process says is not believed: a guest may have taken it over. What is
// remembered of it is bounded, cleaned, and held against what the sandbox's user allowed.
package keeper
