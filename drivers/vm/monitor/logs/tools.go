package logs

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"openshell-vm/internal/rotlog"
)

// Tools is the log of the VM's programs.
type Tools struct {
	path string
	log  *rotlog.Log
}

// OpenTools begins the log of the VM's programs in dir.
func OpenTools(dir string) (*Tools, error) {
	path := filepath.Join(dir, ToolsFile)
	log, err := rotlog.Open(path, rotlog.Options{Max: toolSize, Count: 2})
	return &Tools{path, log}, err
}

// Output returns a pipe for a program's output. Its lines go into the log, with the
// program's name before each. The caller closes the pipe.
func (t *Tools) Output(name string) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	go func() {
		defer r.Close()
		lines := bufio.NewReader(r)
		for {
			line, err := lines.ReadSlice('\n') // a line longer than the buffer comes in parts
			if len(line) > 0 {
				t.log.Write(slices.Concat([]byte(name+": "), bytes.TrimRight(line, "\n"), []byte{'\n'}))
			}
			if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
				return
			}
		}
	}()
	return w, nil
}

// saidLines is how many lines of the log are searched for a program's last one.
const saidLines = 50

// Said returns the last line that a program wrote; "" if it wrote none. The line is fit for
// a terminal.
func (t *Tools) Said(name string) string {
	lines := Tail(t.path, saidLines)
	for _, line := range slices.Backward(lines) {
		if said, ok := strings.CutPrefix(line, name+": "); ok {
			return said
		}
	}
	return ""
}
