// Package gateway is the daemon that keeps every sandbox's token fresh and
// runs sandboxes through the drivers.
//
// The data path is one function, Keeper.Deliver (lease/deliver.go). It mints a token,
// publishes it with the share's other files, and then starts the sandbox if that was asked
// for. Renewals, starts and resumes all go through it, so nothing starts without a fresh
// token in its share.
//
// This package connects the other packages and fixes the order in which they begin:
//
//   - state: the directories, the records, the names on disk
//   - lease: a share, its content, its renewals; the keys
//   - roster: all sandboxes and all shares of the user's own, by id and name
//   - shares: the shares of the user's own
//   - volumes: directories that stay, for sandboxes to write to
//   - sandbox: a lease plus an engine: create, start, stop, reconcile, adopt
//   - seen, onrenew: what sandboxes see of their shares, and what is done inside then
//   - reserve: space for renewals on a full disk
//   - config, issuer, listener: the settings; who tokens say has made them; where others verify
//   - kubernetes: what pods of clusters get for their ServiceAccounts' tokens
//   - events: what happened, for those who follow it
//   - server: the API; explain: errors as answers; metrics: what is counted
//   - daemon: the process: how it is started, and restarted
//
// Locks are taken in this order: an engine's mu, an item's Op and saving, Volumes.mu, Roster.mu,
// Keeper.mu, an item's Mu, a lease's mu or Sources.mu, a schedule's or a follower's mu. Any of them may be left out. A
// share has a lock of its own, which is a flock on a file. Of the locks before, only Op may
// be held when it is taken; while it is held, saving and all that come after saving may be
// taken. Those of a change of settings (Gateway.applying, an issuer's changing) come before all
// of these. All other locks are leaves: nothing is locked under them.
//
// What it promises: killed at any instruction, it leaves sandboxes running and a state
// from which the next gateway goes on. One gateway at a time writes a state directory. A
// failed renewal leaves the last good token where it is. It is retried and shown, and it
// delays no other sandbox's renewal.
//
// What it does not promise: it does not separate processes of the same user from each
// other. Whoever can open its socket controls all its sandboxes. It restarts a
// workload that ended by itself only where its restart policy says so. While no gateway runs, nothing is renewed. The next one
// begins with the renewals that are due, before it asks any engine.
package gateway
