package vm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/monitor"
)

// upperSize is what a guest may write at most; the image is sparse.
const upperSize = 16 << 30

// Create puts the sandbox's files into its directory: the writable layer, and
// last the spec, whose presence says that the sandbox exists.
func (d *Driver) Create(ctx context.Context, spec drivers.Spec) error {
	dir := d.dir(spec.ID)
	if spec.Dir != dir {
		return fmt.Errorf("sandbox %s has the directory %s, the vm driver was told %s", spec.ID, spec.Dir, dir)
	}
	if _, err := os.Stat(filepath.Join(dir, specFile)); err == nil {
		return drivers.ErrExists
	}
	if err := os.MkdirAll(filepath.Join(dir, bootDir), 0o700); err != nil {
		return err
	}
	if !spec.Ephemeral {
		if err := makeUpper(ctx, filepath.Join(dir, upperFile)); err != nil {
			return err
		}
	}
	return writeFile(filepath.Join(dir, specFile), spec)
}

// makeUpper makes an empty file system that takes up next to nothing: what
// mkfs would write is zero in a new file already.
func makeUpper(ctx context.Context, path string) error {
	const op = "make the sandbox's disk"
	mkfs, err := findMkfs()
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err == nil {
		err = errors.Join(f.Truncate(upperSize), f.Close())
	}
	if err != nil {
		return &drivers.Error{Op: op, Err: err, Hint: "see that the state directory's file system has room and takes large sparse files"}
	}
	cmd := exec.CommandContext(ctx, mkfs, "-q", "-F", "-m", "0", "-J", "size=32",
		"-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard", path)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil {
		return &drivers.Error{
			Op: op, Err: fmt.Errorf("mkfs.ext4: %w: %s", err, bytes.TrimSpace(said.Bytes())),
			Hint: "free some space in the state directory, or use --ephemeral",
		}
	}
	return nil
}

// writeFile writes v as JSON, whole or not at all.
func writeFile(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(append(data, '\n'))
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// spec reads what Create was given.
func (d *Driver) spec(id string) (drivers.Spec, error) {
	var spec drivers.Spec
	if id == "" || id != filepath.Base(id) {
		return spec, drivers.ErrNotFound
	}
	data, err := os.ReadFile(filepath.Join(d.dir(id), specFile))
	if errors.Is(err, fs.ErrNotExist) {
		return spec, drivers.ErrNotFound
	} else if err != nil {
		return spec, err
	}
	return spec, json.Unmarshal(data, &spec)
}

// Remove ends the sandbox at once and removes every file of Create's and
// Start's. The directory itself is the gateway's.
func (d *Driver) Remove(ctx context.Context, id string) error {
	if _, err := d.spec(id); errors.Is(err, drivers.ErrNotFound) {
		return nil
	}
	dir := d.dir(id)
	if err := d.end(ctx, id, -1); err != nil {
		return err
	}
	// The spec goes last: until then a killed Remove can be done again.
	for _, pattern := range []string{
		upperFile, monitor.StdioFile + "*", monitor.ConsoleFile + "*", monitor.ToolsFile + "*", monitor.LogFile,
		monitor.ConfigFile + "*", monitor.ExitFile + "*", monitor.LockFile, bootDir, specFile + "*",
	} {
		names, err := filepath.Glob(filepath.Join(globEscape(dir), pattern))
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := os.RemoveAll(name); err != nil {
				return err
			}
		}
	}
	return nil
}
