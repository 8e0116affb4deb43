package block

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"openshell-vm/drivers/vm/images/erofs"
	"openshell-vm/drivers/vm/images/room"
)

const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
	aufs     = ".wh..wh." // what the AUFS of old kept beside the files
)

// builder adds layers to an image that is being written.
type builder struct {
	*tree
	out     *erofs.Writer
	free    func() (uint64, error) // free bytes on the disk of the image
	entries int
	held    int   // bytes of names, links and attributes, which are kept in memory
	read    int64 // bytes of the archives
	bytes   int64 // bytes of the files
	checked int64 // the value of bytes when the free room was looked at
}

// add adds one layer.
func (b *builder) add(layer io.Reader) error {
	b.layer++
	if b.layer > maxLayers {
		return hostile("it is number %d, more than %d", b.layer, maxLayers)
	}
	in := tar.NewReader(layer)
	for {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("it is no archive: %w", err)
		}
		if b.entries++; b.entries+b.implied > maxEntries {
			return hostile("the image has more than %d files", maxEntries)
		}
		if b.held += weight(header); b.held+b.impliedNames > maxHeld {
			return hostile("the image's names, links and attributes have more than %d MiB", maxHeld>>20)
		}
		if err := b.entry(header, in); err != nil {
			return err
		}
	}
}

// weight is how much of a header is kept in memory, in bytes.
func weight(h *tar.Header) int {
	size := len(path.Base(h.Name)) + len(h.Linkname)
	for key, value := range h.PAXRecords {
		size += len(key) + len(value)
	}
	return size
}

// entry adds one entry of a layer.
func (b *builder) entry(h *tar.Header, data io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil // it describes the archive
	}
	parts, err := clean(h.Name)
	if err != nil {
		return err
	}
	if len(parts) == 0 {
		if h.Typeflag != tar.TypeDir {
			return hostile("its root is no directory")
		}
		return describe(b.root.Inode, h)
	}
	name, hops := parts[len(parts)-1], maxHops
	if slices.ContainsFunc(parts, func(part string) bool { return strings.HasPrefix(part, aufs) && part != opaque }) {
		return nil
	}
	dir, err := b.dir(parts[:len(parts)-1], &hops)
	if err != nil {
		return err
	}
	if name == opaque {
		b.hide(dir)
		return nil
	}
	if hidden, ok := strings.CutPrefix(name, whiteout); ok {
		if hidden == "" || hidden == "." || hidden == ".." {
			return hostile("it hides %q", path.Join(path.Dir(h.Name), hidden))
		}
		b.hideName(dir, hidden)
		return nil
	}
	return b.file(dir, name, h, data)
}

// file adds what is no whiteout.
func (b *builder) file(dir *node, name string, h *tar.Header, data io.Reader) error {
	switch h.Typeflag {
	case tar.TypeLink:
		return b.link(dir, name, h)
	case tar.TypeDir:
		n := dir.names[name]
		if n == nil || !n.Is(erofs.TypeDir) {
			n = b.newDir()
			b.put(dir, name, n)
		}
		n.layer = b.layer
		return describe(n.Inode, h)
	}
	n := &node{Inode: &erofs.Inode{}, refs: new(int)}
	if err := describe(n.Inode, h); err != nil {
		return err
	}
	if n.Is(erofs.TypeRegular) {
		if err := b.data(n.Inode, h, data); err != nil {
			return err
		}
	}
	b.put(dir, name, n)
	return nil
}

func (b *builder) link(dir *node, name string, h *tar.Header) error {
	parts, err := clean(h.Linkname)
	if err != nil {
		return err
	}
	to, err := b.find(parts)
	switch {
	case err != nil:
		return err
	case to == nil:
		return hostile("%q is a link to %q, which is not in the image", h.Name, h.Linkname)
	case to.Is(erofs.TypeDir):
		return hostile("%q is a link to the directory %q", h.Name, h.Linkname)
	case dir.names[name] == to:
		to.layer = b.layer
		return b.relink(to.Inode, h)
	}
	if old := dir.names[name]; old != nil {
		delete(dir.names, name)
		if b.forget(old); *to.refs == 0 {
			return hostile("%q is a link to %q, which lay in the directory that it replaces", h.Name, h.Linkname)
		}
	}
	b.put(dir, name, &node{Inode: to.Inode, refs: to.refs})
	return b.relink(to.Inode, h)
}

// relink describes an inode by the entry of one more name, as Docker does.
func (b *builder) relink(n *erofs.Inode, h *tar.Header) error {
	if err := owned(n, h); err != nil {
		return err
	}
	if !n.Is(erofs.TypeSymlink) {
		n.Mode = n.Mode&erofs.TypeMask | uint16(h.Mode&0o7777)
	}
	more := attributes(h)
	if len(more) == 0 {
		return nil
	}
	for _, a := range more {
		n.Attrs = slices.DeleteFunc(n.Attrs, func(old erofs.Attr) bool { return old.Name == a.Name })
		if err := b.step(len(n.Attrs)); err != nil {
			return err
		}
	}
	n.Attrs = append(n.Attrs, more...)
	return sorted(n, h)
}

// data writes a regular file's data. An archive's reader ends a file where its header says.
func (b *builder) data(n *erofs.Inode, h *tar.Header, data io.Reader) error {
	if h.Size < 0 || h.Size > maxBytes-b.bytes {
		return hostile("with %q the image has more than %d GiB", h.Name, int64(maxBytes>>30))
	}
	if err := b.out.WriteData(n, &watched{data, b}); err != nil {
		return fmt.Errorf("%q: %w", h.Name, err)
	}
	return nil
}

// watched looks at the free room while data is read.
type watched struct {
	io.Reader
	b *builder
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	w.b.bytes += int64(n)
	if w.b.bytes-w.b.checked >= freeEvery {
		w.b.checked = w.b.bytes
		if err := w.b.checkFree(); err != nil {
			return 0, err
		}
	}
	return n, err
}

// ErrNoRoom is in the chain of an error for a disk that has too little room.
var ErrNoRoom = room.ErrNone

func (b *builder) checkFree() error { return (&room.Guard{Free: b.free}).Need(0) }

// types are the types of an archive's entries.
var types = map[byte]uint16{
	tar.TypeReg: erofs.TypeRegular, tar.TypeCont: erofs.TypeRegular, tar.TypeGNUSparse: erofs.TypeRegular,
	tar.TypeDir: erofs.TypeDir, tar.TypeSymlink: erofs.TypeSymlink, tar.TypeFifo: erofs.TypeFIFO,
	tar.TypeChar: erofs.TypeChar, tar.TypeBlock: erofs.TypeBlock,
}

// describe sets all of an inode but its data.
func describe(n *erofs.Inode, h *tar.Header) error {
	kind, ok := types[h.Typeflag]
	if !ok {
		return hostile("%q is of the type %q, which is not known", h.Name, h.Typeflag)
	}
	if err := owned(n, h); err != nil {
		return err
	}
	n.Mode = kind | uint16(h.Mode&0o7777)
	switch kind {
	case erofs.TypeSymlink:
		if n.Target = h.Linkname; n.Target == "" || len(n.Target) > erofs.MaxLink || strings.ContainsRune(n.Target, 0) {
			return hostile("%q is a link to %.40q", h.Name, h.Linkname)
		}
		n.Mode |= 0o777
	case erofs.TypeChar, erofs.TypeBlock:
		if n.Device, ok = erofs.Device(h.Devmajor, h.Devminor); !ok {
			return hostile("%q is the device %d:%d, which can't exist", h.Name, h.Devmajor, h.Devminor)
		}
	}
	n.Attrs = attributes(h)
	return sorted(n, h)
}

// owned sets the owner and the time. What is older than 1970 is of 1970, as with Docker.
func owned(n *erofs.Inode, h *tar.Header) error {
	if uint64(h.Uid) > 1<<32-2 || uint64(h.Gid) > 1<<32-2 {
		return hostile("%q belongs to %d:%d, which can't exist", h.Name, h.Uid, h.Gid)
	}
	n.UID, n.GID = uint32(h.Uid), uint32(h.Gid)
	n.Seconds, n.Nanos = 0, 0
	if seconds := h.ModTime.Unix(); seconds >= 0 {
		n.Seconds, n.Nanos = uint64(seconds), uint32(h.ModTime.Nanosecond())
	}
	return nil
}

// attributes returns the extended attributes that an image keeps.
func attributes(h *tar.Header) (all []erofs.Attr) {
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, "SCHILY.xattr.")
		a := erofs.Attr{Name: name, Value: []byte(value)}
		if !ok || !a.Writable() || strings.HasPrefix(name, "trusted.overlay.") {
			continue
		}
		all = append(all, a)
	}
	return all
}

// sorted bounds the attributes, and puts them into a fixed order.
func sorted(n *erofs.Inode, h *tar.Header) error {
	size := 0
	for _, a := range n.Attrs {
		if size += len(a.Name) + len(a.Value); size > maxAttrs {
			return hostile("%q has attributes of more than %d bytes", h.Name, maxAttrs)
		}
	}
	slices.SortFunc(n.Attrs, func(a, b erofs.Attr) int { return strings.Compare(a.Name, b.Name) })
	return nil
}
