// Package qemu builds the command lines of virtiofsd and qemu-system for one
// VM. They are pure functions of their arguments: nothing here looks at the
// host but Detect.
//
// Every path on a command line is one inside the program's jail, and every
// socket is an inherited descriptor. What is not promised: that a program of a
// version never seen takes these options; a refusal of its own is shown to the
// user by the monitor.
package qemu
