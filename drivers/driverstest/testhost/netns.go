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
	return OnOwnThread(func() error {
		ns, err := os.Open(file)
		if err != nil {
			return err
		}
		defer ns.Close()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}
		return f()
	})
}

// OnOwnThread runs f on a thread that ends with it: f may leave it in another namespace or with
// another root. It is never the process's first thread. That one can't end, and what /proc/self and
// /proc/net show is its: it would tell of f's namespace from then on.
func OnOwnThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			err := OnOwnThread(f) // on another one: this one is taken
			runtime.UnlockOSThread()
			done <- err
			return
		}
		done <- f() // and never unlocked: the thread ends with the goroutine
	}()
	return <-done
}
