// Package gateway is the daemon that keeps every sandbox's token fresh and
// runs sandboxes through the drivers.
//
// The data path is one function, Keeper.Deliver (lease/deliver.go): mint a token, publish
// it and what else is to be in the share, start the sandbox if it is to be started.
// Renewals, starts and resumes all go through it, so nothing starts without a
// fresh token in its share.
//
// This package only puts the rooms together, and says in which order they begin:
//
//   - state: the directories, the records, the names on disk
//   - lease: a share, what is in it, when it is due; the keys
//   - roster: what there is, by id and name: sandboxes, and shares of the user's own
//   - shares: the shares of the user's own
//   - sandbox: a lease plus an engine: create, start, stop, reconcile, adopt
//   - reserve: room for renewals on a full disk
//   - server: the API; explain: what becomes of an error; metrics: what is counted
//   - daemon: what starts this as a process, and again
//
// Locks are taken in this order, and each may be left out: an engine's mu, an item's Op and
// saving, Roster.mu, Keeper.mu, an item's Mu, a lease's mu, a schedule's mu. The share's own
// lock, a file's, is taken with none of these held but Op; under it come saving and what follows.
// All others are leaves: nothing is locked under them.
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
