// Package share keeps one host directory per sandbox in which files change all at once.
// A sandbox sees the share's directory auth/, read-only, by a bind mount or virtio-fs.
// This package is its only writer.
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
//   - A superseded generation stays readable for the grace: for readers that
//     have a file open, and for caches that still hold a name. A file that only
//     a renewal superseded stays for the overlap, for readers that resolved its
//     path once. A withdrawn file is gone after the grace, if the caller calls
//     [Share.Prune] when it is due.
//   - [Read] gives all files of one and the same generation.
//   - Owner and mode of every file and directory are exactly those in
//     [Options], whatever the umask.
//   - Numbers of generations only grow. A number that was begun is never used again.
//   - A failed [Share.Publish] leaves the last good generation current and
//     removes its own traces. The next Publish removes those of a killed one.
//   - No path operation leaves the share: every name is one component below a
//     directory's descriptor, and no symbolic link is followed.
//
// What it does not promise:
//
//   - Opening two published names one after the other may give files of two
//     generations. Use [Read], or open ..data once and read through it.
//   - Without [Options.Durable] nothing survives a power failure.
//   - Everything in auth/ belongs to this package, which removes what it does
//     not know there. If it can't, it still publishes and reports it in
//     [Published.Warning]. It does not empty a mount in auth/.
//   - It protects from a sandbox and from other users, not from the user that
//     runs the writer.
//   - flock does not exclude writers on different hosts.
//
// The package works on Linux.
package share
