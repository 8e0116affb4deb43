// Package initramfs finds a kernel on the host that can run a guest under QEMU, and builds
// the initramfs for it: openshell-init and the modules that it needs, in load order.
//
// The guest kernel is an installed one, usually the host's own, so nothing is downloaded.
//
// What is not promised: a kernel with the right modules may still fail to boot; only the
// boot's deadline finds that out. An archive in the cache is checked for damage, but it is
// not signed: the cache belongs to the user who runs the guest.
package initramfs
