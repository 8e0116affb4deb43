package logs

import (
	"bufio"
	"errors"
	"io"
	"os"
	"path/filepath"

	"openshell-vm/internal/plainfile"
	"openshell-vm/internal/rotlog"
	"openshell-vm/internal/stream"
)

// Read writes the workload's stored output since the last start to stdout and
// stderr; nil discards. The log may still be written to: Read gives what there is at
// the call. Where output is missing, a note stands in its place.
func Read(dir string, stdout, stderr io.Writer) error {
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
	files, err := openLog(filepath.Join(dir, StdioFile), logCount)
	if err != nil {
		return err
	}
	defer closeAll(files...)
	expected := 0
	for _, f := range files {
		if err := readLogFile(f, &expected, write); err != nil {
			return err
		}
	}
	return nil
}

// openLog opens the files of a log, oldest first. It starts over if the log was rotated
// before all were open. So no file is missing and none is there twice. Files that are
// rotated away later can still be read.
func openLog(path string, count int) ([]*os.File, error) {
	for {
		files, err := openByName(path, count)
		if err != nil {
			return nil, err
		}
		if still, err := sameNames(files, path, count); still || err != nil {
			return files, err
		}
		closeAll(files...)
	}
}

func openByName(path string, count int) (files []*os.File, err error) {
	for age := count - 1; age >= 0; age-- {
		f, err := plainfile.Open(rotlog.Name(path, age), os.O_RDONLY, 0)
		if err == nil {
			files = append(files, f)
		} else if !os.IsNotExist(err) {
			closeAll(files...)
			return nil, err
		}
	}
	return files, nil
}

// sameNames reports whether the log still consists of these files.
func sameNames(files []*os.File, path string, count int) (bool, error) {
	for age := count - 1; age >= 0; age-- {
		now, err := os.Stat(rotlog.Name(path, age))
		if os.IsNotExist(err) {
			continue
		} else if err != nil {
			return false, err
		}
		if len(files) == 0 {
			return false, nil
		}
		was, err := files[0].Stat()
		if err != nil || !os.SameFile(was, now) {
			return false, err
		}
		files = files[1:]
	}
	return len(files) == 0, nil
}

// readLogFile passes to write what f has now. expected is the number that f should
// have; it becomes the next file's number.
func readLogFile(f *os.File, expected *int, write func(stream.Kind, []byte) error) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	lines := bufio.NewReaderSize(io.LimitReader(f, info.Size()), 2*stream.MaxPayload)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if seq, ok := fileNumber(line); ok {
			if seq != *expected {
				line = missed(*expected)
			}
			*expected = seq + 1
		}
		if err := Decode(line, write); err != nil {
			return err
		}
	}
}

func closeAll(files ...*os.File) {
	for _, f := range files {
		f.Close()
	}
}
