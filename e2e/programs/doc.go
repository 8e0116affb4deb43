// Package programs has real programs go by the files of a share, as docs/recipes.md tells: git,
// ssh, kubectl, the AWS SDK, PHP and Node, in sandboxes, while the credentials in these files are
// replaced.
//
// The tests run the page's own lines. What a test can't have for real, a forge, a cluster, a
// cloud, is a server here, which knows each credential that it gave out and when it ends. So
// each test counts the credentials that were used, and the calls that were refused: none may be.
//
// The programs are this host's own, in a tree with their libraries, which is a VM's root and the
// containers' image. A usual run has credentials that live for half a minute, and only PHP and Node in a
// VM. OPENSHELL_PROGRAMS=long has a minute, clones for three, and has all of it in VMs, one at a time.
package programs
