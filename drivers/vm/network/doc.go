// Package network is what a VM's network is made of, as far as driver, monitor, guest init
// and the network process have to agree on it: the addresses, the process's configuration,
// and the messages between it and the monitor. It imports no network stack.
//
// A VM's network is one process, openshell-net, and no change to the host. The guest's
// card is connected to it by a socket (package link). In the process is a network stack
// that takes every connection of the guest for its own, asks package policy whether it may
// be, and makes one of the host's sockets for it (package nat). Package resolver answers
// the guest's questions for names.
package network
