package shares

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/audience"
	"openshell-vm/gateway/lease"
	"openshell-vm/gateway/presets"
	"openshell-vm/gateway/roster"
	"openshell-vm/gateway/sources"
	"openshell-vm/gateway/state"
	"openshell-vm/internal/contract"
	"openshell-vm/share"
)

// The user's files in a share are published with each token, in one generation. They are
// stored beside the record, so that a share that is made anew gets them again.
const (
	maxFiles     = api.MaxFiles
	maxFilesSize = api.MaxFilesSize // each renewal writes them
)

// Files returns the source of a lease's user files. It reads them from the home.
func Files(home *state.Home, l *lease.Lease) *lease.Files {
	ours := func(name string, data []byte, listed []string) bool {
		return slices.Contains(audience.Names(l.Tokens()), name) || ofSource(l, name) || l.Signed(data) ||
			slices.ContainsFunc(listed, func(token string) bool { return presets.Left(name, data, token) })
	}
	return &lease.Files{Auth: l.Share().AuthDir(), Ours: ours,
		Load: func() (map[string][]byte, error) { return home.Files(l.ID()) }}
}

// ofSource reports whether a share's file is of one of the lease's sources.
func ofSource(l *lease.Lease, name string) bool {
	return slices.ContainsFunc(l.Sources(), func(s api.Source) bool { return sources.Of(s.Name, name) })
}

// Outdated reports whether a share that has these files has one that nothing gives any more, or
// not the user's files as they are stored. What a source gives it does not ask: who has something
// new says so.
func Outdated(home *state.Home, l *lease.Lease, has map[string][]byte) bool {
	given := append(audience.Names(l.Tokens()), contract.TokenName, contract.MetadataName)
	files, err := Files(home, l).Last() // if they are damaged, those that the share has
	if err != nil && files == nil {
		return false
	}
	for name, data := range files {
		if held, there := has[name]; !there || !bytes.Equal(held, data) {
			return true
		}
	}
	for name := range has {
		if _, put := files[name]; !put && !slices.Contains(given, name) && !ofSource(l, name) {
			return true
		}
	}
	return slices.ContainsFunc(l.Sources(), func(s api.Source) bool { return sources.Held(has, s.Name) == nil })
}

// PutFiles changes the user's files in any share, a sandbox's too. It returns once a
// generation with them is published. If only the publish fails, it returns an error, but
// the next renewal publishes the files.
func (s *Shares) PutFiles(ctx context.Context, it *roster.Item, q api.FilesRequest) error {
	if err := it.Present(); err != nil {
		return err
	}
	if err := it.Saving(func() error { return s.storeFiles(it, q) }); err != nil {
		return it.Blame(err)
	}
	if err := it.Deliver(ctx, nil); err != nil {
		return it.Blame(err)
	}
	return it.FilesGiven(func(file string) bool {
		_, put := q.Files[file]
		return put || slices.Contains(q.Remove, file)
	})
}

func (s *Shares) storeFiles(it *roster.Item, q api.FilesRequest) error {
	files, err := Files(s.roster.Home, it.Lease).Last()
	if err != nil && files == nil {
		return err
	}
	if files == nil {
		files = map[string][]byte{}
	}
	if err := change(files, q); err != nil {
		return err
	}
	record := it.Rec().Request
	for name := range q.Files {
		for _, taken := range audience.Names(record.Tokens) {
			if share.Clash(name, taken) {
				return unusable(name, fmt.Errorf("a token for another audience has it, or a name above or below it: %s", taken))
			}
		}
		for _, taken := range sources.Names(record.Sources) {
			if share.Clash(name, taken) {
				return unusable(name, fmt.Errorf("a file with a source has it, or a name above or below it: %s", taken))
			}
		}
	}
	return s.roster.Home.SaveFiles(it.ID, files)
}

// change applies a request to files, or refuses it.
func change(files map[string][]byte, q api.FilesRequest) error {
	for _, name := range q.Remove {
		if _, ok := files[name]; !ok {
			return &api.Error{Code: api.CodeNotFound,
				Message: fmt.Sprintf("the share has no file %q", name),
				Hint:    "openshell-vm share inspect lists its files"}
		}
		delete(files, name)
	}
	for name, data := range q.Files {
		if err := checkFileName(name); err != nil {
			return err
		}
		files[name] = data
	}
	for name := range q.Files {
		for other := range files {
			if other != name && share.Clash(name, other) {
				return unusable(name, fmt.Errorf("the share has %s, and one would be a directory of the other", other))
			}
		}
	}
	size := 0
	for _, data := range files {
		size += len(data)
	}
	if size > maxFilesSize || len(files) > maxFiles {
		return &api.Error{Code: api.CodeInvalid, Message: fmt.Sprintf("%d files with %d bytes are too much for a share", len(files), size),
			Hint: fmt.Sprintf("at most %d files with %d KiB in all fit; mount a directory of your own for more",
				maxFiles, maxFilesSize>>10)}
	}
	return nil
}

// checkFileName refuses names that a share can't publish, and those of the gateway's own
// files.
func checkFileName(name string) error {
	err := share.CheckName(name)
	var cause *share.Error
	if errors.As(err, &cause) {
		err = cause.Err
	}
	if share.Clash(name, contract.TokenName) || share.Clash(name, contract.MetadataName) {
		err = errors.New("the gateway writes it")
	}
	if err == nil {
		return nil
	}
	return unusable(name, err)
}

func unusable(name string, err error) error {
	return &api.Error{Code: api.CodeInvalid, Message: fmt.Sprintf("the file name %q can't be used: %v", name, err),
		Hint: "choose another one: openshell-vm share put SHARE NAME=FILE"}
}
