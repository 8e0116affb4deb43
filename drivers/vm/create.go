package vm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/host"
	"openshell-vm/drivers/vm/images/library"
	"openshell-vm/drivers/vm/monitor"
	"openshell-vm/drivers/vm/monitor/logs"
	"openshell-vm/internal/atomicfile"
)

// Create puts the sandbox's files into its directory: the writable layer first, and the
// spec last. The sandbox exists as soon as its spec does.
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
	if !spec.VM.Ephemeral {
		if err := d.host.MakeUpper(ctx, filepath.Join(dir, upperFile), cmp.Or(spec.VM.Disk, host.DefaultDisk)); err != nil {
			return err
		}
	}
	if spec.Image != "" {
		if err := d.images.Keep(ctx, spec, dir); err != nil {
			return err
		}
	}
	return atomicfile.WriteJSON(filepath.Join(dir, specFile), spec, atomicfile.Durable)
}

// Remove ends the sandbox at once, and removes all files that Create and Start have made.
// The directory itself belongs to the gateway.
func (d *Driver) Remove(ctx context.Context, id string) error {
	b, err := d.find(id)
	if errors.Is(err, drivers.ErrNotFound) {
		return nil
	}
	if err := b.end(ctx, -1); err != nil {
		return err
	}
	b.removeCgroups()
	d.images.Leave(id, b.dir)
	// The spec goes last: until then a killed Remove can be done again.
	for _, pattern := range []string{
		upperFile, logs.StdioFile + "*", logs.ConsoleFile + "*", logs.ToolsFile + "*", monitor.LogFile + "*",
		monitor.ConfigFile + "*", monitor.ExitFile + "*", monitor.LockFile, bootDir, rootDir, library.File + "*", specFile + "*",
	} {
		names, err := filepath.Glob(filepath.Join(globEscape(b.dir), pattern))
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
