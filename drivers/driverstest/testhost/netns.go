package testhost

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// InNetns runs f in the network namespace that file is; "" for this one. Sockets that f makes
// are there, and so are processes that f starts.
func InNetns(file string, f func() error) error {
	if file == "" {
		return f()
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		ns, err := os.Open(file)
		if err == nil {
			defer ns.Close()
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}
