package gateway

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/lease"
	"openshell-vm/internal/contract"
	"openshell-vm/share"
)

// Further files in a share are published with each token, in one generation.
// They are kept beside the record, so that a lost share gets them again.
const (
	maxFiles     = api.MaxFiles
	maxFilesSize = api.MaxFilesSize // each renewal writes them
)

// content is what the next publish puts into a share: the token first, then the user's
// files. A further kind of source has its place in further, and nowhere else.
func (g *Gateway) content(s *sandbox) (*lease.Token, *lease.Content) {
	token := &lease.Token{Issuer: g.issuer, SandboxID: s.id, TTL: s.rec().TTL()}
	return token, &lease.Content{Sources: append([]lease.Source{token}, g.further(s)...), Warn: func(err error) {
		g.log.Warn("the files beside a token can't be read; those published last stay", "sandbox", s.id, "error", oneLine(err))
	}}
}

// filesOf is the source of the user's files.
func (g *Gateway) filesOf(s *sandbox) *lease.Files {
	return &lease.Files{Auth: s.share.AuthDir(), Load: func() (map[string][]byte, error) { return g.home.Files(s.id) }}
}

// putFiles changes the further files and returns once a generation with them is
// published. If only publishing fails, the next renewal brings them.
func (g *Gateway) putFiles(ctx context.Context, s *sandbox, q api.FilesRequest) error {
	if err := s.present(); err != nil {
		return err
	}
	if err := g.storeFiles(s, q); err != nil {
		return s.blame(err)
	}
	return s.blame(g.deliver(ctx, s, false))
}

func (g *Gateway) storeFiles(s *sandbox, q api.FilesRequest) error {
	s.saving.Lock()
	defer s.saving.Unlock()
	files, err := g.filesOf(s).Last()
	if err != nil && files == nil {
		return err
	}
	if files == nil {
		files = map[string][]byte{}
	}
	if err := change(files, q); err != nil {
		return err
	}
	return g.home.SaveFiles(s.id, files)
}

// change does to files what q asks for, or refuses it.
func change(files map[string][]byte, q api.FilesRequest) error {
	for _, name := range q.Remove {
		if _, ok := files[name]; !ok {
			return &api.Error{Code: api.CodeNotFound, Message: fmt.Sprintf("the share has no file %q", name), Hint: "openshell-vm share inspect lists its files"}
		}
		delete(files, name)
	}
	for name, data := range q.Files {
		if err := checkFileName(name); err != nil {
			return err
		}
		files[name] = data
	}
	size := 0
	for _, data := range files {
		size += len(data)
	}
	if size > maxFilesSize || len(files) > maxFiles {
		return &api.Error{Code: api.CodeInvalid, Message: fmt.Sprintf("%d files with %d bytes are too much for a share", len(files), size),
			Hint: fmt.Sprintf("at most %d files with %d KiB in all fit; mount a directory of your own for more", maxFiles, maxFilesSize>>10)}
	}
	return nil
}

// checkFileName refuses the gateway's own names and those that no share can publish.
func checkFileName(name string) error {
	err := share.CheckName(name)
	var cause *share.Error
	if errors.As(err, &cause) {
		err = cause.Err
	}
	if name == contract.TokenName || name == contract.MetadataName {
		err = errors.New("the gateway writes it")
	}
	if err == nil {
		return nil
	}
	return &api.Error{Code: api.CodeInvalid, Message: fmt.Sprintf("the file name %q can't be used: %v", name, err),
		Hint: "choose another one: openshell-vm share put SHARE NAME=FILE"}
}

func sortedNames(files map[string][]byte) []string { return slices.Sorted(maps.Keys(files)) }
