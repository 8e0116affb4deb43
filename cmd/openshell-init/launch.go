package main

import (
	"os"
	"syscall"

	"openshell-vm/internal/vocab"
)

// launch starts p in the sandbox without streams. p goes on when its session has ended.
// Only the end of the sandbox ends it.
func (s *session) launch(r *root, p vocab.Process) error {
	return r.do(func() error {
		c, err := resolve(p)
		if err != nil {
			return err
		}
		null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer null.Close()
		_, _, err = s.procs.start(c.file, c.args, &syscall.ProcAttr{
			Dir: c.dir, Env: c.env, Files: []uintptr{null.Fd(), null.Fd(), null.Fd()},
			Sys: &syscall.SysProcAttr{Credential: &c.cred, Setsid: true},
		})
		if err != nil {
			return execError(p.Args[0], c, err)
		}
		return nil
	})
}
