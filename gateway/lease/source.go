// Package lease keeps leases: a share, what is in it, and when the next generation is due.
//
// Each file in a share has a source; the token is the first of them. A generation is what
// all sources give for it at once. [Keeper.Deliver] has it made and published; a schedule
// says when, another one when old generations go. A [Holder] is what has the lease; of it
// no more is known than that. This package knows no driver, no record and no API.
//
// What it promises: a generation is whole, or there is none. A source that fails and
// gives what it gave last, beside its error, keeps nothing back; it is told. Every source
// but the token's should be such a one. A publish that fails leaves the last good
// generation, is tried again, and delays no other lease.
package lease

import (
	"os"
	"path/filepath"
	"time"

	"openshell-vm/share"
	"openshell-vm/share/layout"
)

// Source gives some of a share's files. One that lasts over several publishes must be
// safe for concurrent use.
type Source interface {
	// Files are its files for a generation. An error beside files is told, and they
	// are published; an error alone fails the publish.
	Files(generation uint64) ([]share.File, error)
	// Due is when what it gave last should be replaced; zero for never.
	Due() time.Time
}

// Content is what one publish puts into a share. It is for one goroutine.
type Content struct {
	Sources []Source
	Warn    func(error) // told of a source that gave its last good files

	files []share.File
}

// Build gives one generation, for share.Publish. It may be called again, for another.
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

// Due is when the first source is; zero if none ever is.
func (c *Content) Due() (first time.Time) {
	for _, source := range c.Sources {
		if due := source.Due(); first.IsZero() || !due.IsZero() && due.Before(first) {
			first = due
		}
	}
	return first
}

// ShownIn says whether whoever opens the files in the share's auth directory by their
// names gets those of this generation, which was built last.
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
