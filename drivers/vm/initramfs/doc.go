// Package initramfs finds a kernel on the host that can run a guest under
// QEMU, and builds the initramfs that it boots with: openshell-init and the
// modules that it needs, in load order.
//
// The guest kernel is an ordinary installed one, the host's own as a rule, so
// nothing is downloaded. What is not promised: a kernel with the right modules
// can still fail to boot, which only the boot's deadline finds out; and an
// archive is not signed or checked again once it is in the cache, which belongs
// to the user who runs the guest.
package initramfs
