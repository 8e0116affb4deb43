package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"openshell-vm/gateway/api"
)

// Files returns what a share has beside the token and its metadata, by name; nil if nothing.
// These files are kept beside the record, so that a lost share gets them again.
func (h *Home) Files(id string) (map[string][]byte, error) {
	data, err := api.ReadState(h.FilesPath(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var files map[string][]byte
	if err := json.Unmarshal(data, &files); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", h.FilesPath(id), err)
	}
	return files, nil
}

// SaveFiles replaces all of a share's further files at once, durably.
func (h *Home) SaveFiles(id string, files map[string][]byte) error {
	data, err := json.Marshal(files)
	if err != nil {
		return err
	}
	return replaceFile(h.FilesPath(id), data)
}
