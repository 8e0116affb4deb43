// Package share keeps one host directory per sandbox in which files change
// all at once. The directory auth/ of a share is what a sandbox sees, read-only,
// by a bind mount or virtio-fs; this package is its only writer.
//
//	<share>/                 0700, never mounted
//	  lock                   flock'ed by a writer; holds the highest number used
//	  auth/                  mounted; its inode is never replaced
//	    token    -> ..data/token
//	    ..data   -> ..gen-00000042
//	    ..gen-00000042/token
//	    ..gen-00000041/token
//	    ..is-00000041        announcements, made after the commit;
//	    ..is-00000042        ..was-N once generation N is no longer complete
//
// What it promises:
//
//   - Whoever opens a published name gets the whole file of the old or of the
//     new generation, also when the writer is killed at any instruction.
//     A file that is open, or found by a name that a cache still holds, stays
//     readable until the grace has passed after its generation was superseded;
//     one that only a renewal has superseded until the overlap has, for readers
//     that resolved its path. What was withdrawn is gone after the grace, if
//     [Share.Prune] is called when it should be.
//   - [Read] gives all files of one and the same generation.
//   - Owner and mode of every file and directory are exactly those in
//     [Options], whatever the umask.
//   - Numbers of generations only grow; one that was begun is never used again.
//   - A failed [Share.Publish] leaves the last good generation current and
//     takes its own traces away; the next one takes away those of a killed one.
//   - No path operation leaves the share: every name is one component below a
//     directory's descriptor, and no symbolic link is followed.
//
// What it does not promise:
//
//   - Opening two published names one after the other may give files of two
//     generations. Use [Read], or open ..data once and read through it.
//   - Without [Options.Durable] nothing survives a power failure.
//   - Everything in auth/ belongs to this package: what it does not know there
//     is removed. What can't be removed keeps no publish back; it is told in
//     [Published.Warning]. What is mounted there is not emptied.
//   - It protects from a sandbox and from other users, not from the user that
//     runs the writer.
//   - flock does not exclude writers on different hosts.
//
// The package works on Linux.
package share
