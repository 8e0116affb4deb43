// Package gateway is the daemon that keeps every sandbox's token fresh and
// runs sandboxes through the drivers.
//
// The data path is one function, deliver (publish.go): mint a token, publish it and
// what else is to be in the sandbox's share (package lease), start the sandbox if it is
// to be started.
// Renewals, starts and resumes all go through it, so nothing starts without a
// fresh token in its share.
//
// Around it: records on disk (package state), one heap of renewal times (package
// lease/schedule) and what sees that none is missing from it (guard.go), a reconciler
// that moves what the engines report to what the records want (reconcile.go), by a rule
// that is one pure function (decide.go), the operations that users ask for (create.go,
// lifecycle.go, shares.go), of which a sandbox has one at a time (oplock.go), and the
// API's server (server.go). It ends once there is no state directory any more (gone.go).
// What starts it as a process, and again, is package daemon.
//
// Locks are taken in this order, and each may be left out: an engine's mu, a sandbox's op
// and saving, Gateway.mu, a sandbox's mu, a schedule's mu. The share's own lock, a file's,
// is taken with none of these held but op; under it come saving and what follows. All
// others are leaves: nothing is locked under them.
//
// What it promises: killed at any instruction, it leaves sandboxes running and
// a state that the next gateway continues from. One gateway at a time writes a
// state directory. A failed renewal leaves the last good token where it is, is
// retried and is shown; it delays no other sandbox's.
//
// What it does not promise: it isolates the users of one uid from each other in
// no way; whoever can open its socket owns all its sandboxes. It restarts no
// workload that ended by itself. While no gateway runs nothing is renewed; the
// next one renews everything before it does anything else.
package gateway
