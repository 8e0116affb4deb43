// Package state is what a gateway keeps on disk, and the one place that knows its form:
// the directories and the lock (home.go), names (names.go), records (record.go) and how
// they are written and read (store.go), what lies where after a move (place.go), a
// share's further files (files.go), and the room that is set aside (room.go).
//
// What it promises: after a write returned nil, what was written is what the next
// gateway finds, also after a power failure; before, what was there. What an older
// gateway wrote is read as it was meant. What can't be read is left as it is and
// reported. While a Home is open no other process writes there.
//
// What it does not promise: order between writers of one record; a Record that is
// shared must not be changed, only replaced. It holds no secret: keys are package
// tokens' and tokens are package share's.
package state
