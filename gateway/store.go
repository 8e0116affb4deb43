package gateway

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

// newSuffix is of a file that is about to replace the one without it.
const newSuffix = ".new"

// save puts a record on disk: after it returned nil, this record is what a
// gateway finds after a power failure; before, the one before.
func (h *Home) save(r *Record) error {
	placed := *r
	placed.Place = h.placeOf(r.Share)
	data, err := json.Marshal(placed)
	if err != nil {
		return err
	}
	return h.replace(h.recordPath(r.ID), append(data, '\n'))
}

// makeSandboxDir makes the directory that a record is saved in. Its name is
// durable before the record is.
func (h *Home) makeSandboxDir(id string) error {
	if err := os.Mkdir(h.sandboxDir(id), 0o700); err != nil {
		return err
	}
	return syncDir(h.Sandboxes())
}

// load reads the record of one sandbox.
func (h *Home) load(id string) (*Record, error) {
	data, err := api.ReadState(h.recordPath(id))
	if err != nil {
		return nil, err
	}
	r := &Record{}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", h.recordPath(id), err)
	}
	if r.Version > recordVersion {
		return nil, fmt.Errorf("%s was written by a newer gateway", h.recordPath(id))
	}
	if r.ID != id {
		return nil, fmt.Errorf("%s is damaged", h.recordPath(id))
	}
	if err := h.settleShare(r); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", h.recordPath(id), err)
	}
	return r, nil
}

// loadAll reads every record. One that can't be read is reported and left as
// it is: its sandbox may still run. A directory without a record and with
// nothing else in it is what a killed creation or removal left.
func (h *Home) loadAll(report func(id string, err error)) ([]*Record, error) {
	entries, err := os.ReadDir(filepath.Join(h.State, sandboxesDir))
	if err != nil {
		return nil, err
	}
	var records []*Record
	for _, entry := range entries {
		if !idPattern.MatchString(entry.Name()) {
			continue
		}
		record, err := h.load(entry.Name())
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
	if err := os.Remove(h.recordPath(id) + newSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Remove(h.sandboxDir(id))
}

// forget deletes a sandbox's directory, the record last: a forget that was
// killed is repeated by the next gateway.
func (h *Home) forget(id string) error {
	dir := h.sandboxDir(id)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.Name() == recordFile {
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
	return atomicfile.Write(path, path+newSuffix, data, atomicfile.Durable)
}

// syncDir is a variable so that a test can see it.
var syncDir = atomicfile.SyncDir
