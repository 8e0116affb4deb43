package monitor

import (
	"path/filepath"
	"testing"

	"openshell-vm/drivers/vm/monitor/logs"

	"golang.org/x/sys/unix"
)

// TestOddFiles checks that a FIFO in place of a file of the sandbox's directory is an
// error. Nobody may wait for it, and the gateway least of all.
func TestOddFiles(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{ExitFile, ConfigFile, LockFile, logs.StdioFile} {
		if err := unix.Mkfifo(filepath.Join(dir, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, read := range map[string]func() error{
		"exit":   func() error { _, err := ReadExit(dir); return err },
		"config": func() error { _, err := ReadConfig(dir); return err },
		"lock":   func() error { _, err := PID(dir); return err },
		"log":    func() error { return logs.Read(dir, nil, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			done := make(chan struct{})
			go func() {
				defer close(done)
				if err := read(); err == nil {
					t.Error("it was read")
				}
			}()
			await(t, done)
		})
	}
}
