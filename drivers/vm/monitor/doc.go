// Package monitor is the process beside one VM. It starts the VM's processes, keeps
// its output, answers on a socket, and writes the exit status to disk.
// cmd/openshell-vmm runs it; package vm starts it and talks to it through package api.
//
// A monitor has a session of its own and outlives the gateway. All that it started
// dies with it, by parent-death signals and because its ends of the ports close. As
// long as it lives it holds a lock on LockFile, and others ask that lock whether it
// lives.
//
// What is not promised: the monitor restarts nothing, neither the workload nor a
// process of the VM. It has no token logic: of a share it reads only which generation
// is current.
package monitor
