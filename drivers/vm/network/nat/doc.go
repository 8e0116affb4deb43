// Package nat is the network process: a network stack at the end of a guest's wire, which
// makes one of the host's sockets for each connection of the guest that package policy
// lets pass, and a connection to the guest for each to a port that was forwarded.
//
// A guest may send anything. All that it can take is bounded: connections, flows of
// datagrams, questions for names, the memory of each, lines to the monitor.
package nat
