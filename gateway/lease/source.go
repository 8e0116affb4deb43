// Package lease keeps leases: a share, its content, and when the next generation is due.
//
// Each file in a share comes from a [Source]; each token is one, that for the gateway first. A generation is
// what all sources return for one publish. [Keeper.Deliver] makes and publishes it. One
// schedule says when a delivery is due, another one when old generations are removed. A
// [Holder] is the owner of a lease. This package knows no driver, no record and no API.
//
// What it promises: a generation is complete, or it is not published. If a source returns
// an error together with its last good files, these are published and the error is logged.
// Every source but that of the gateway's own token does that. A publish that fails leaves the last good
// generation in place, is retried, and delays no other lease.
package lease

import (
	"os"
	"path/filepath"
	"time"

	"openshell-vm/share"
	"openshell-vm/share/layout"
)

// Source makes some of a share's files. A source that is used for several publishes must
// be safe for concurrent use.
type Source interface {
	// Files returns the source's files for a generation. If it returns files and an error,
	// the files are published and the error is logged. If it returns nil files and an
	// error, the publish fails.
	Files(generation uint64) ([]share.File, error)
	// Due returns when the files that it returned last should be replaced; zero for never.
	Due() time.Time
}

// Content is what one publish puts into a share. It is for one goroutine.
type Content struct {
	Sources []Source
	Warn    func(error) // called with the error of a source that also returned files

	tokens []*Token // those of Sources, that for the gateway first
	files  []share.File
}

// Build returns the files of one generation, for share.Publish. It may be called again for
// another generation.
func (c *Content) Build(generation uint64) ([]share.File, error) {
	c.files = nil
	for _, source := range c.Sources {
		files, err := source.Files(generation)
		switch {
		case err != nil && files == nil:
			return nil, err
		case err != nil:
			c.Warn(err)
		}
		c.files = append(c.files, files...)
	}
	return c.files, nil
}

// Due returns when the first source is due; zero if none ever is.
func (c *Content) Due() (first time.Time) {
	for _, source := range c.Sources {
		if due := source.Due(); first.IsZero() || !due.IsZero() && due.Before(first) {
			first = due
		}
	}
	return first
}

// ShownIn reports whether the names in the share's auth directory lead to the files of
// this generation. It must be the one that was built last.
func (c *Content) ShownIn(auth string, generation uint64) bool {
	for _, file := range c.files {
		seen, err := os.Stat(filepath.Join(auth, file.Name))
		if err != nil {
			return false
		}
		meant, err := os.Stat(filepath.Join(auth, layout.Generation(generation), file.Name))
		if err != nil || !os.SameFile(seen, meant) {
			return false
		}
	}
	return true
}
