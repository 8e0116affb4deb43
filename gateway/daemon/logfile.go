package daemon

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"openshell-vm/gateway"
)

// maxLog bounds the log in bytes; one older file of that size is kept.
const maxLog = 4 << 20

// LogTo opens the log in the state directory, which must exist. The log holds
// no token and no key: nothing that could is given to it.
func LogTo(stateDir string, level slog.Level) (*slog.Logger, error) {
	f := &rotated{path: filepath.Join(stateDir, gateway.LogFile), max: maxLog}
	if err := f.open(); err != nil {
		return nil, err
	}
	return slog.New(slog.NewTextHandler(f, &slog.HandlerOptions{Level: level})), nil
}

// rotated is a file that starts anew when it is full; the full one is kept as
// path.1. It is safe for concurrent use.
type rotated struct {
	path string
	max  int64

	mu   sync.Mutex
	file *os.File
	size int64
}

func (f *rotated) open() error {
	file, err := os.OpenFile(f.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND|syscall.O_NONBLOCK, 0o600) // a FIFO delays nobody
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", f.path)
	}
	if err != nil {
		file.Close()
		return err
	}
	f.file, f.size = file, info.Size()
	return nil
}

// Write appends whole lines. Where no new file can be made, the old one is
// written on.
func (f *rotated) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.size > 0 && f.size+int64(len(p)) > f.max && os.Rename(f.path, f.path+".1") == nil {
		full := f.file
		if f.open() == nil {
			full.Close()
		}
	}
	n, err := f.file.Write(p)
	f.size += int64(n)
	return n, err
}
