package follow

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/internal/plainfile"
)

// stamp is by what a file is known again. Two equal stamps, taken a while apart, mean the same
// content: see the package's comment.
type stamp struct {
	device, inode uint64
	size          int64
	written       unix.Timespec // the content's last change
	changed       unix.Timespec // the inode's; nobody can set it back
	mode          uint32
	tree          [sha256.Size]byte // of a directory: what all in it is known by
	problem       string            // why there is no file, or none that can be read; "" for a good one
}

// result is what a look found.
type result struct {
	file      *file
	stamp     stamp
	found     *Found   // nil if the file was not read, since it had not come to rest
	told      stamp    // by what found is known again
	locations []string // every name on the way to the file that may be led elsewhere
}

// look looks at a file. If it is as it was, and has rested, its content is read.
func look(k key, known stamp, rested bool, judge func(paths ...string) error) result {
	locations, err := Locations(k.path)
	s, dir := stampOf(k, err)
	r := result{stamp: s, told: s, locations: locations}
	places := []string{k.path}
	if dir != nil {
		r.locations, places = append(r.locations, dir.locations...), append(places, dir.places...)
	}
	switch {
	case !rested || s != known:
		return r
	case s.problem != "":
		r.found = &Found{Err: errors.New(s.problem)}
		return r
	}
	found := Found{Mode: s.mode}
	if judge != nil {
		err = judge(places...)
	}
	switch {
	case err != nil:
	case dir != nil:
		found.Files, err = dir.read(k.path, k.most)
	default:
		found.Data, err = plainfile.Read(k.path, k.most)
	}
	if r.stamp, _ = stampOf(k, nil); r.stamp != s {
		return r
	}
	r.found = &found
	if err != nil { // it is tried again, though the file may look the same
		r.told.problem = reason(err)
		r.found = &Found{Err: errors.New(r.told.problem)}
	}
	return r
}

// stampOf returns a file's stamp, and what is in it if it is a directory that may be followed. err is
// what is known to be wrong with its path.
func stampOf(k key, err error) (stamp, *tree) {
	var st unix.Stat_t
	if err == nil {
		err = unix.Stat(k.path, &st)
	}
	switch {
	case err != nil:
		return stamp{problem: reason(err)}, nil
	case st.Mode&unix.S_IFMT == unix.S_IFDIR && k.tree != Limits{}:
		dir, err := walk(k.path, k)
		s := stamp{device: st.Dev, inode: st.Ino, mode: st.Mode & 0o7777, tree: [sha256.Size]byte(dir.sum.Sum(nil))}
		if err != nil {
			s.problem = err.Error()
		}
		return s, dir
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return stamp{problem: plainfile.ErrIrregular.Error()}, nil
	case st.Size > k.most:
		return stamp{problem: fmt.Sprintf("it has %d bytes, and %d may be read", st.Size, k.most)}, nil
	}
	return stamp{device: st.Dev, inode: st.Ino, size: st.Size, written: st.Mtim, changed: st.Ctim, mode: st.Mode & 0o7777}, nil
}

// reason returns an error's cause without the path, which whoever follows it knows.
func reason(err error) string {
	var at *fs.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	return err.Error()
}

// maxLinks is how many symbolic links may lead to a file: as many as the kernel follows.
const maxLinks = 40

// Locations returns every name on the way to a file that may be led elsewhere: each symbolic
// link, and at last the file's own name in its directory. The file need not exist.
func Locations(path string) (all []string, err error) { return Steps(path, func(string) {}) }

// Steps is Locations, and tells each name before it asks the file system about it. No link leads to
// such a name.
func Steps(path string, before func(name string)) (all []string, err error) {
	rest := strings.Split(strings.Trim(filepath.Clean(path), "/"), "/")
	dir, links := "/", 0
	for len(rest) > 0 {
		name := filepath.Join(dir, rest[0])
		before(name)
		target, err := os.Readlink(name)
		last := len(rest) == 1
		if err != nil { // no link, or not there
			if last {
				all = append(all, name)
			}
			dir, rest = name, rest[1:]
			continue
		}
		if links++; links > maxLinks {
			return all, unix.ELOOP
		}
		all = append(all, name)
		if filepath.IsAbs(target) {
			dir = "/"
		}
		rest = append(parts(target), rest[1:]...)
	}
	return all, nil
}

// parts splits a link's target. It keeps "..", which filepath.Join resolves where it is due.
func parts(target string) (list []string) {
	for _, p := range strings.Split(target, "/") {
		if p != "" && p != "." {
			list = append(list, p)
		}
	}
	return list
}

// Quiet is the usual Options.Quiet.
const Quiet = 300 * time.Millisecond

// Read reads a file now, once it has come to rest for Quiet. It gives up when ctx ends, also if
// the file system hangs. judge is as in Options.
func Read(ctx context.Context, path string, most int64, judge func(paths ...string) error) Found {
	done := make(chan Found, 1)
	go func() {
		k := key{path: path, most: most}
		known, since := look(k, stamp{}, false, nil).stamp, time.Now()
		if known.old(since) {
			since = since.Add(-Quiet)
		}
		for ctx.Err() == nil {
			r := look(k, known, time.Since(since) >= Quiet, judge)
			if r.found != nil {
				done <- *r.found
				return
			}
			if r.stamp != known {
				known, since = r.stamp, time.Now()
			}
			time.Sleep(Quiet / 10)
		}
	}()
	select {
	case found := <-done:
		return found
	case <-ctx.Done():
		return Found{Err: fmt.Errorf("it can't be read in time: %w, or %w", ErrRestless, ErrHangs)}
	}
}

// old reports whether a file has rested for long, by its own word.
func (s stamp) old(now time.Time) bool {
	return s.problem == "" && s.tree == [sha256.Size]byte{} && now.Sub(time.Unix(s.changed.Unix())) > 4*Quiet
}
