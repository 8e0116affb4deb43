// Package logs is what a VM's monitor writes down of what others say: the workload, the
// guest's kernel, and the programs of the VM. All logs are bounded, and lie in the
// sandbox's state directory.
package logs

import (
	"bufio"
	"io"
	"os"
	"path/filepath"

	"openshell-vm/internal/plainfile"
	"openshell-vm/internal/rotlog"
	"openshell-vm/internal/text"
)

// Names of the logs in a sandbox's state directory. Older files have a suffix.
const (
	StdioFile   = "stdio.log"   // the workload's output in CRI format, rotated
	ConsoleFile = "console.log" // the guest kernel's messages, rotated
	ToolsFile   = "tools.log"   // output of virtiofsd and the hypervisor, rotated
)

// Sizes of the rotated logs.
const (
	logSize  = 10 << 20 // bytes in each file
	logCount = 3        // files in all
	toolSize = 1 << 20  // bytes in each of the tools' two files
)

// OpenStdio begins the log of the workload's output in dir. What is written to it has to be
// records: see Append.
func OpenStdio(dir string) (*rotlog.Log, error) { return openStdio(dir, logSize, logCount) }

func openStdio(dir string, limit int64, count int) (*rotlog.Log, error) {
	return rotlog.Open(filepath.Join(dir, StdioFile), rotlog.Options{
		Max: limit, Count: count, Header: fileHeader, Mark: func() []byte { return note(missingOnDisk) }, Missed: missed,
	})
}

// OpenConsole begins the log of the guest's kernel in dir.
func OpenConsole(dir string) (*rotlog.Log, error) {
	return rotlog.Open(filepath.Join(dir, ConsoleFile), rotlog.Options{Max: logSize, Count: logCount})
}

// Tail returns the last n lines of a log, oldest first, for an error message. They are fit
// for a terminal.
func Tail(path string, n int) []string {
	f, err := plainfile.Open(path, os.O_RDONLY, 0)
	if err != nil {
		return nil
	}
	defer f.Close()
	const window = 8 << 10
	if info, err := f.Stat(); err == nil && info.Size() > window {
		f.Seek(-window, io.SeekEnd)
	}
	var lines []string
	for scan := bufio.NewScanner(f); scan.Scan(); {
		if line := text.Short(scan.Text(), text.MaxSaid); line != "" {
			lines = append(lines, line)
		}
	}
	return lines[max(0, len(lines)-n):]
}
