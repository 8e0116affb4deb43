// Package state is what a gateway keeps on disk. Only this package knows its form: the
// directories and the lock (home.go), names (names.go), records (record.go) and how they are
// written and read (store.go), where shares lie after a move (place.go), a share's further
// files (files.go), and the room that is set aside (room.go).
//
// What it promises: after a write has returned nil, the next gateway finds what was written,
// also after a power failure. Until then it finds the old content or the new. What an older
// gateway wrote keeps its meaning. What can't be read is reported, and left as it is. While a
// Home is open no other process writes there.
//
// What it does not promise: an order between writers of one record. A Record that several
// goroutines share must not be changed, only replaced. This package holds no secret: package
// tokens keeps the keys, and package share the tokens.
package state
