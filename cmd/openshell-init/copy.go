package main

import (
	"fmt"
	"syscall"

	"openshell-vm/cmd/openshell-init/copying"
	"openshell-vm/internal/vocab"
)

// runCopy starts a child that does the task. Its streams are the archive, and why it failed.
func (s *session) runCopy(r *root, task vocab.CopyTask) error {
	args, err := copying.Args(task)
	if err != nil {
		return err
	}
	theirs, err := s.openPipes(command{}, task.Do == vocab.CopyIn)
	defer theirs.close()
	if err == nil {
		s.pid, s.done, err = s.procs.start("/proc/self/exe", args, &syscall.ProcAttr{
			Dir:   "/",
			Files: []uintptr{theirs.in.Fd(), theirs.out.Fd(), theirs.err.Fd(), copying.NamespaceFD: r.namespace.Fd()},
			Sys:   &syscall.SysProcAttr{Setsid: true},
		})
	}
	if err != nil {
		s.closeFiles()
		return fmt.Errorf("start what copies: %w", err)
	}
	s.connect()
	return nil
}
