package monitor

import (
	"bufio"
	"errors"
	"io"
	"os"
	"path/filepath"

	"openshell-vm/internal/stream"
)

// ReadLog writes the workload's stored output since the last start to the two
// writers. It is for a sandbox whose monitor has ended: of a log that is being
// written it may miss or repeat a file that is rotated meanwhile.
func ReadLog(dir string, stdout, stderr io.Writer) error {
	write := func(kind stream.Kind, data []byte) error {
		w := stdout
		if kind == stream.Stderr {
			w = stderr
		}
		if w == nil {
			return nil
		}
		_, err := w.Write(data)
		return err
	}
	for age := logCount - 1; age >= 0; age-- {
		err := readLogFile(rotatedName(filepath.Join(dir, StdioFile), age), write)
		if err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return nil
}

func readLogFile(path string, write func(stream.Kind, []byte) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewReaderSize(f, 2*stream.MaxPayload)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := decodeLines(line, write); err != nil {
			return err
		}
	}
}

// tail returns the last n lines of a log, oldest first, for an error message.
func tail(path string, n int) []string {
	f, err := os.Open(path)
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
		if text := printable(scan.Text()); text != "" {
			lines = append(lines, text)
		}
	}
	return lines[max(0, len(lines)-n):]
}
