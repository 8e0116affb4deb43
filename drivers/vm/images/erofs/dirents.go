package erofs

import (
	"encoding/binary"
	"maps"
	"slices"
)

// names returns the names in a directory in the order of the format: that of their bytes,
// with the two dots among the others.
func (n *Inode) names() []string {
	names := append(slices.Collect(maps.Keys(n.Entries)), ".", "..")
	slices.Sort(names)
	return names
}

// split cuts names into blocks: each holds as many as there is room for.
func split(names []string) (blocks [][]string, last int) {
	from, size := 0, 0
	for i, name := range names {
		need := direntSize + len(name)
		if size+need > BlockSize {
			blocks = append(blocks, names[from:i])
			from, size = i, 0
		}
		size += need
	}
	return append(blocks, names[from:]), size
}

func (n *Inode) direntsSize() int {
	blocks, last := split(n.names())
	return (len(blocks)-1)*BlockSize + last
}

// dirents returns a directory's data. In each block come the entries first, and then
// their names.
func (n *Inode) dirents() []byte {
	blocks, _ := split(n.names())
	var b []byte
	le := binary.LittleEndian
	for i, names := range blocks {
		b = append(b, make([]byte, i*BlockSize-len(b))...)
		at := len(names) * direntSize
		for _, name := range names {
			to := n.lookup(name)
			b = le.AppendUint64(b, to.nid)
			b = le.AppendUint16(b, uint16(at))
			b = append(b, fileTypes[to.Mode&TypeMask], 0)
			at += len(name)
		}
		for _, name := range names {
			b = append(b, name...)
		}
	}
	return b
}

func (n *Inode) lookup(name string) *Inode {
	switch name {
	case ".":
		return n
	case "..":
		return n.parent
	}
	return n.Entries[name]
}

// fileTypes are the types of files in a directory's entry.
var fileTypes = map[uint16]byte{
	TypeRegular: 1, TypeDir: 2, TypeChar: 3, TypeBlock: 4, TypeFIFO: 5, TypeSocket: 6, TypeSymlink: 7,
}
