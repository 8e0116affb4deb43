// Package monitor is the process that stands beside one VM: it starts what the
// VM is made of, keeps its output, answers on a socket, and puts the exit
// status on disk. cmd/openshell-vmm runs it; package vm starts it and talks to
// it by package api.
//
// It lives in a session of its own and outlives the gateway. Whatever it
// started dies with it, by parent-death signals and by the ports' ends. While
// it lives it holds a lock on LockFile, which is how others know that it does.
//
// What is not promised: the monitor restarts nothing, neither the workload nor
// a process of the VM. It has no token logic and never opens the share.
package monitor
