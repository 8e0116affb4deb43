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

// NewSuffix is of a file that is about to replace the one without it.
const NewSuffix = ".new"

// Save puts a record on disk: after it returned nil, this record is what a
// gateway finds after a power failure; before, the one before.
func (h *Home) Save(r *Record) error {
	data, err := h.encode(r)
	if err != nil {
		return err
	}
	return h.replace(h.RecordPath(r.ID), data)
}

// encode is the form on disk: a line of JSON.
func (h *Home) encode(r *Record) ([]byte, error) {
	placed := *r
	placed.Place = h.placeOf(r.Share)
	data, err := json.Marshal(placed)
	return append(data, '\n'), err
}

// MakeSandboxDir makes the directory that a record is saved in. Its name is
// durable before the record is.
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

// LoadAll reads every record. One that can't be read is reported and left as
// it is: its sandbox may still run. A directory without a record and with
// nothing else in it is what a killed creation or removal left.
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

// removeEmpty deletes a sandbox's directory if there is nothing in it but a
// record that was never completed.
func (h *Home) removeEmpty(id string) error {
	if err := os.Remove(h.RecordPath(id) + NewSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Remove(h.SandboxDir(id))
}

// Forget deletes a sandbox's directory, the record last: a forget that was
// killed is repeated by the next gateway.
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

// removeBusy removes a directory into which a renewal or a put that is still
// under way may write: what that adds goes, too. Once the directory is gone,
// nothing can be added.
func removeBusy(dir string) error {
	const tries = 100
	for n := 1; ; n++ {
		err := os.RemoveAll(dir)
		if n == tries || !errors.Is(err, syscall.ENOTEMPTY) {
			return err
		}
	}
}

// replaceFile gives path new content, 0600, all at once and durably. What a
// killed one left is removed by the next, whatever it is.
func replaceFile(path string, data []byte) error {
	return atomicfile.Write(path, path+NewSuffix, data, atomicfile.Durable)
}

// syncDir is a variable so that a test can see it.
var syncDir = atomicfile.SyncDir

// Peek tells what can be told of a record that can't be used: its name, "" if that
// could be none, and whether it is of a share of the user's own. ok is false if
// nothing can.
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
