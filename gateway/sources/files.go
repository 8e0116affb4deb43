package sources

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"strings"

	"openshell-vm/share"
)

// Files are what one source gives, all of one moment: they get into a share together, in one
// generation. The keys are names below the source's own name: "token" of a source NAME is the
// file NAME/token in a share. The key "" is the file NAME itself, and stands alone.
//
// What a feed holds is shared by all who read it: do not change it.
type Files map[string][]byte

// one is what a source gives that is a single file.
func one(data []byte) Files { return Files{"": data} }

// equal reports whether both are the same files.
func (f Files) equal(other Files) bool { return maps.EqualFunc(f, other, bytes.Equal) }

// check returns an error if what was found can be no content of a source. An empty directory is none:
// what was mounted there may be away, or who makes it anew has not put anything in yet.
func (f Files) check() error {
	if len(f) == 0 {
		return errors.New("no file is in it")
	}
	for _, name := range slices.Sorted(maps.Keys(f)) {
		if name == "" {
			continue
		}
		if err := share.CheckName(name); err != nil {
			return err
		}
	}
	return nil
}

// follows returns an error if a directory stands in a file's place, or the other way round.
func (f Files) follows(before Files) error {
	_, is := f[""]
	_, was := before[""]
	switch {
	case was && !is:
		return errors.New("it is a directory now, and was a file")
	case is && !was:
		return errors.New("it is a file now, and was a directory")
	}
	return nil
}

// clone copies the files and what they hold.
func (f Files) clone() Files {
	copied := make(Files, len(f))
	for name, data := range f {
		copied[name] = bytes.Clone(data)
	}
	return copied
}

// size is how many bytes they have.
func (f Files) size() (all int) {
	for _, data := range f {
		all += len(data)
	}
	return all
}

// In returns the files as a share has them that shows the source under a name, sorted by name.
func (f Files) In(name string) []share.File {
	list := make([]share.File, 0, len(f))
	for _, below := range slices.Sorted(maps.Keys(f)) {
		file := share.File{Name: name, Data: f[below]}
		if below != "" {
			file.Name += "/" + below
		}
		list = append(list, file)
	}
	return list
}

// Held returns what a share's files have of a source with this name, nil for nothing.
func Held(files map[string][]byte, name string) (held Files) {
	for file, data := range files {
		if !Of(name, file) {
			continue
		}
		if held == nil {
			held = Files{}
		}
		held[strings.TrimPrefix(file[len(name):], "/")] = data
	}
	return held
}

// Of reports whether a share's file is one of the source with this name.
func Of(name, file string) bool {
	below, ok := strings.CutPrefix(file, name)
	return ok && (below == "" || below[0] == '/')
}
