package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"openshell-vm/gateway/api"
	"openshell-vm/internal/atomicfile"
)

// NewSuffix marks a file that is about to replace the one without the suffix.
const NewSuffix = ".new"

// Save writes a record to disk. Once it has returned nil, the next gateway finds this record,
// also after a power failure. Until then it finds the old record or this one.
func (h *Home) Save(r *Record) error {
	data, err := h.encode(r)
	if err != nil {
		return err
	}
	return h.replace(h.RecordPath(r.ID), data)
}

// encode returns the form on disk: a line of JSON.
func (h *Home) encode(r *Record) ([]byte, error) {
	placed := *r
	placed.Place = h.placeOf(r.Share)
	data, err := json.Marshal(placed)
	return append(data, '\n'), err
}

// MakeSandboxDir makes the directory for a record. When it returns, the directory's name is
// durable.
func (h *Home) MakeSandboxDir(id string) error {
	if err := os.Mkdir(h.SandboxDir(id), 0o700); err != nil {
		return err
	}
	return syncDir(h.Sandboxes())
}

// Load reads the record of one sandbox.
func (h *Home) Load(id string) (*Record, error) {
	data, err := api.ReadState(h.RecordPath(id))
	if err != nil {
		return nil, err
	}
	r := &Record{}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", h.RecordPath(id), err)
	}
	if r.Version > Version {
		return nil, fmt.Errorf("%s was written by a newer gateway", h.RecordPath(id))
	}
	if r.ID != id {
		return nil, fmt.Errorf("%s is damaged", h.RecordPath(id))
	}
	if err := h.settleShare(r); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", h.RecordPath(id), err)
	}
	return r, nil
}

// LoadAll reads every record. It reports a record that can't be read and leaves it as it is:
// the sandbox may still run. It removes directories that are empty: a killed creation or
// removal left those.
func (h *Home) LoadAll(report func(id string, err error)) ([]*Record, error) {
	entries, err := os.ReadDir(filepath.Join(h.State, sandboxesDir))
	if err != nil {
		return nil, err
	}
	var records []*Record
	for _, entry := range entries {
		if !idPattern.MatchString(entry.Name()) {
			continue
		}
		record, err := h.Load(entry.Name())
		switch {
		case err == nil:
			records = append(records, record)
		case !errors.Is(err, fs.ErrNotExist) || h.removeEmpty(entry.Name()) != nil:
			report(entry.Name(), err)
		}
	}
	return records, nil
}

// removeEmpty deletes a sandbox's directory if it has nothing but an unfinished record.
func (h *Home) removeEmpty(id string) error {
	if err := os.Remove(h.RecordPath(id) + NewSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Remove(h.SandboxDir(id))
}

// Forget deletes a sandbox's directory. The record goes last, so that after a kill the next
// gateway repeats it.
func (h *Home) Forget(id string) error {
	dir := h.SandboxDir(id)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.Name() == RecordFile {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	return removeBusy(dir)
}

// removeBusy removes a directory into which a renewal or a put may still write. It also
// removes what these add. Once the directory is gone, nothing can be added.
func removeBusy(dir string) error {
	const tries = 100
	for n := 1; ; n++ {
		err := os.RemoveAll(dir)
		if n == tries || !errors.Is(err, syscall.ENOTEMPTY) {
			return err
		}
	}
}

// replaceFile replaces the content of path, with mode 0600, at once and durably. It first
// removes what a killed one left.
func replaceFile(path string, data []byte) error {
	return atomicfile.Write(path, path+NewSuffix, data, atomicfile.Durable)
}

// syncDir is a variable so that a test can see it.
var syncDir = atomicfile.SyncDir

// Peek reads what it can of a record that can't be used: the name, "" if that is malformed,
// and whether it belongs to a share of the user's own. ok is false if it can read nothing.
func (h *Home) Peek(id string) (name string, own, ok bool) {
	var known struct {
		Name   string
		Driver *string
	}
	data, err := api.ReadState(h.RecordPath(id))
	if err != nil || json.Unmarshal(data, &known) != nil || known.Driver == nil {
		return "", false, false
	}
	if CheckName(known.Name) != nil {
		known.Name = ""
	}
	return known.Name, *known.Driver == "", true
}
