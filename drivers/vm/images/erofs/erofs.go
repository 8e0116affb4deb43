// Package erofs writes EROFS, Linux's read-only file system, as one file. It writes
// what a container image can hold: owners, modes, times, extended attributes, hard links,
// devices, and files with holes. It compresses nothing.
//
// A file's data is written as it arrives, once and in place; all that describes the files
// follows at the end. So a caller needs no room for a second copy, and may still drop a
// file: see Writer.Discard.
//
//	block 0          the superblock
//	data             of regular files, each at a block of its own
//	inodes           with attributes, and with what is small enough to lie beside its inode
//	directories      that are too large for that
//
// What is not promised: the layout of an image may change with this package, so two
// versions may make different images of the same files.
package erofs

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// BlockSize is the size of a block, in bytes. Every kernel with EROFS can mount it.
const BlockSize = 4096

// Names in the format.
const (
	magic        = 0xe0f5e1e2
	superOffset  = 1024
	inodeSize    = 64 // of an extended inode, the only kind written here
	slotSize     = 32 // an inode's number is its offset, in slots
	direntSize   = 12
	layoutPlain  = 0 // data is in blocks
	layoutInline = 2 // data follows the inode, in the same block
	attrHeader   = 12
	attrEntry    = 4

	// MaxName is the longest name in a directory, in bytes.
	MaxName = 255
	// MaxLink is the longest target of a symbolic link, in bytes.
	MaxLink = 4095
	// maxBlocks is how many blocks an image can have: their numbers have 32 bits.
	maxBlocks = 1<<32 - 1
	// maxAttrs bounds the attributes of one file: their size is counted in 16 bits.
	maxAttrs = attrHeader + 4*(1<<16-2)
)

// Types of files, as in st_mode.
const (
	TypeMask    = 0o170000
	TypeSocket  = 0o140000
	TypeSymlink = 0o120000
	TypeRegular = 0o100000
	TypeBlock   = 0o060000
	TypeDir     = 0o040000
	TypeChar    = 0o020000
	TypeFIFO    = 0o010000
)

// Inode is one file, of any type. A file with several names is one Inode under each of
// them; a directory has one name only.
type Inode struct {
	Mode     uint16 // type and permission bits
	UID, GID uint32
	Seconds  uint64 // time of modification, since 1970
	Nanos    uint32
	Device   uint32 // of a device: see Device
	Target   string // of a symbolic link
	Attrs    []Attr
	Entries  map[string]*Inode // of a directory

	size   uint64
	small  []byte // the whole data, if it is small
	block  uint32 // first block of the data
	links  uint32
	nid    uint64
	inline bool
	parent *Inode // of a directory
}

// Attr is one extended attribute.
type Attr struct {
	Name  string // whole, such as security.capability
	Value []byte
}

// Size is the number of bytes of a regular file's data.
func (n *Inode) Size() uint64 { return n.size }

// Is reports whether the file is of a type, such as TypeDir.
func (n *Inode) Is(kind uint16) bool { return n.Mode&TypeMask == kind }

// Device makes a device number of two parts, as Linux encodes it. ok is false if one of
// them is too large.
func Device(major, minor int64) (n uint32, ok bool) {
	if major < 0 || major >= 1<<12 || minor < 0 || minor >= 1<<20 {
		return 0, false
	}
	return uint32(minor&0xff | major<<8 | minor&^0xff<<12), true
}

// attrPrefixes are the beginnings of attributes' names that have a number in the format.
var attrPrefixes = []struct {
	prefix string
	index  byte
	whole  bool
}{
	{"user.", 1, false}, {"system.posix_acl_access", 2, true}, {"system.posix_acl_default", 3, true},
	{"trusted.", 4, false}, {"security.", 6, false},
}

// Writable reports whether the format has room for the attribute. Linux has no other
// names in any file system that is made of an image.
func (a Attr) Writable() bool {
	_, _, ok := splitAttr(a.Name)
	return ok && len(a.Value) < 1<<16
}

func splitAttr(name string) (index byte, rest string, ok bool) {
	for _, p := range attrPrefixes {
		if p.whole && name == p.prefix {
			return p.index, "", true
		}
		rest, found := strings.CutPrefix(name, p.prefix)
		if !p.whole && found && rest != "" && len(rest) <= 255 {
			return p.index, rest, true
		}
	}
	return 0, "", false
}

// attrSize is how many bytes the attributes take after their inode.
func (n *Inode) attrSize() int {
	if len(n.Attrs) == 0 {
		return 0
	}
	size := attrHeader
	for _, a := range n.Attrs {
		_, rest, _ := splitAttr(a.Name)
		size += align(attrEntry+len(rest)+len(a.Value), 4)
	}
	return size
}

func (n *Inode) encodeAttrs(b []byte) []byte {
	if len(n.Attrs) == 0 {
		return b
	}
	b = append(b, make([]byte, attrHeader)...)
	for _, a := range n.Attrs {
		index, rest, _ := splitAttr(a.Name)
		b = append(b, byte(len(rest)), index)
		b = binary.LittleEndian.AppendUint16(b, uint16(len(a.Value)))
		b = append(append(b, rest...), a.Value...)
		b = append(b, make([]byte, align(len(b), 4)-len(b))...)
	}
	return b
}

// encode appends the inode itself. An inode starts at a multiple of 4, so the attributes'
// alignment within b is that on disk.
func (n *Inode) encode(b []byte) []byte {
	le := binary.LittleEndian
	format, count, data := uint16(1|layoutPlain<<1), uint16(0), n.block
	if n.inline {
		format, data = 1|layoutInline<<1, 0
	}
	if size := n.attrSize(); size > 0 {
		count = uint16((size-attrHeader)/4 + 1)
	}
	if n.Is(TypeChar) || n.Is(TypeBlock) {
		data = n.Device
	}
	b = le.AppendUint16(b, format)
	b = le.AppendUint16(b, count)
	b = le.AppendUint16(b, n.Mode)
	b = le.AppendUint16(b, 0)
	b = le.AppendUint64(b, n.size)
	b = le.AppendUint32(b, data)
	b = le.AppendUint32(b, uint32(n.nid)) // the number for 32-bit systems
	b = le.AppendUint32(b, n.UID)
	b = le.AppendUint32(b, n.GID)
	b = le.AppendUint64(b, n.Seconds)
	b = le.AppendUint32(b, n.Nanos)
	b = le.AppendUint32(b, n.links)
	b = append(b, make([]byte, 16)...)
	return n.encodeAttrs(b)
}

// check refuses what the format can't hold.
func (n *Inode) check() error {
	size := 0
	for _, a := range n.Attrs {
		if !a.Writable() {
			return fmt.Errorf("its attribute %q can't be kept", a.Name)
		}
		if size += len(a.Name) + len(a.Value) + 8; size > maxAttrs {
			return fmt.Errorf("its attributes have more than %d bytes", maxAttrs)
		}
	}
	if n.Is(TypeSymlink) && (n.Target == "" || len(n.Target) > MaxLink) {
		return fmt.Errorf("its target has %d bytes, not 1 to %d", len(n.Target), MaxLink)
	}
	for name := range n.Entries {
		if name == "" || name == "." || name == ".." || len(name) > MaxName || strings.ContainsAny(name, "/\x00") {
			return fmt.Errorf("%q is no name", name)
		}
	}
	return nil
}

// align rounds n up to a multiple of a power of two.
func align(n, to int) int { return (n + to - 1) &^ (to - 1) }
