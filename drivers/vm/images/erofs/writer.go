package erofs

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

const (
	// maxSmall is the largest data that lies beside its inode. Half a block wastes least:
	// inode and data have to be in one block.
	maxSmall = BlockSize / 2
	// maxHeld bounds the data that is kept in memory until the inodes are written, in bytes.
	// What is small beyond that gets a block of its own.
	maxHeld = 64 << 20
)

// Options describe an image.
type Options struct {
	UUID   [16]byte // "blkid" shows it
	Volume string   // at most 15 bytes
}

// Writer writes one image. It is not safe for concurrent use.
type Writer struct {
	out   *os.File
	opts  Options
	next  uint32 // the first block that is free
	held  int
	block [BlockSize]byte
}

// New makes a Writer for an empty file. The caller keeps the file, and closes it.
func New(out *os.File, o Options) *Writer { return &Writer{out: out, opts: o, next: 1} }

// Blocks is how many blocks the image has so far.
func (w *Writer) Blocks() uint32 { return w.next }

// ErrTooLarge means that an image has more blocks than the format can number.
var ErrTooLarge = errors.New("the image is larger than 16 TiB")

// WriteData reads all of r as the data of a regular file. A block of zeros becomes a hole
// in the image's file on the host, and takes no room there.
func (w *Writer) WriteData(n *Inode, r io.Reader) error {
	n.size, n.small, n.block = 0, nil, w.next
	for {
		got, err := io.ReadFull(r, w.block[:])
		if got > 0 {
			n.size += uint64(got)
			if got <= maxSmall && n.size == uint64(got) && w.held < maxHeld && err != nil {
				w.held += got
				n.small = slices.Clone(w.block[:got])
			} else if err := w.putBlock(got); err != nil {
				return err
			}
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// putBlock writes the first n bytes of the block at the end of the data.
func (w *Writer) putBlock(n int) error {
	if w.next == maxBlocks {
		return ErrTooLarge
	}
	at := int64(w.next) * BlockSize
	w.next++
	clear(w.block[n:])
	if w.block == [BlockSize]byte{} {
		return nil
	}
	_, err := w.out.WriteAt(w.block[:], at)
	return err
}

// Discard gives the room of a regular file's data back to the host, as far as its file
// system can. The file must have no name in the image any more.
func (w *Writer) Discard(n *Inode) {
	w.held -= len(n.small)
	if n.small == nil && n.size > 0 {
		punch(w.out, int64(n.block)*BlockSize, int64((n.size+BlockSize-1)/BlockSize*BlockSize))
	}
	n.size, n.small = 0, nil
}

// Finish writes all that describes the tree below root, and the superblock last: until
// then the file is no image.
func (w *Writer) Finish(root *Inode) error {
	p := &plan{}
	root.parent = root
	if err := p.add(root); err != nil {
		return fmt.Errorf("%q: %w", "/"+strings.Join(p.path, "/"), err)
	}
	meta := w.next
	blocks := p.place(meta)
	if blocks > maxBlocks {
		return ErrTooLarge
	}
	if err := w.writeMeta(p, meta); err != nil {
		return err
	}
	if err := w.out.Truncate(int64(blocks) * BlockSize); err != nil {
		return err
	}
	w.next = uint32(blocks)
	_, err := w.out.WriteAt(w.superblock(p, root, meta), superOffset)
	return err
}

// superblock names no optional feature, so every version of the file system reads it.
func (w *Writer) superblock(p *plan, root *Inode, meta uint32) []byte {
	b := make([]byte, 128)
	le := binary.LittleEndian
	le.PutUint32(b[0:], magic)
	b[12] = 12 // log2 of BlockSize
	le.PutUint16(b[14:], uint16(root.nid))
	le.PutUint64(b[16:], uint64(len(p.inodes)))
	le.PutUint32(b[36:], w.next)
	le.PutUint32(b[40:], meta)
	copy(b[48:64], w.opts.UUID[:])
	copy(b[64:79], w.opts.Volume)
	return b
}

// plan is where everything goes.
type plan struct {
	inodes []*Inode // in the order in which they are written
	path   []string // of what is added just now; it may be far longer than Linux's paths
}

// add plans a tree, each directory before what is in it. It counts the links. After an
// error the path leads to what is wrong.
func (p *plan) add(n *Inode) error {
	if n.links++; n.links > 1 && !n.Is(TypeDir) {
		return nil
	}
	if err := n.check(); err != nil {
		return err
	}
	p.inodes = append(p.inodes, n)
	if !n.Is(TypeDir) {
		return nil
	}
	n.links++ // its "."
	for _, name := range slices.Sorted(maps.Keys(n.Entries)) {
		child := n.Entries[name]
		p.path = append(p.path, name)
		if child.Is(TypeDir) {
			if child.links > 0 {
				return errors.New("the directory has another name")
			}
			child.parent = n
			n.links++ // its ".."
		}
		if err := p.add(child); err != nil {
			return err
		}
		p.path = p.path[:len(p.path)-1]
	}
	return nil
}

// place gives each inode its number, and blocks to what does not lie beside its inode. It
// returns the image's number of blocks.
func (p *plan) place(meta uint32) (blocks uint64) {
	at := 0
	for _, n := range p.inodes {
		head, tail := inodeSize+n.attrSize(), n.tail()
		n.inline = tail > 0 && head+tail <= BlockSize
		if !n.inline {
			tail = 0
		}
		// What lies beside an inode has to be in one block with it. Without that only the
		// inode has to.
		need := inodeSize
		if n.inline {
			need = head + tail
		}
		if at%BlockSize+need > BlockSize {
			at = align(at, BlockSize)
		}
		n.nid = uint64(at / slotSize)
		at = align(at+head+tail, slotSize)
	}
	blocks = uint64(meta) + uint64(align(at, BlockSize)/BlockSize)
	for _, n := range p.inodes {
		if n.late() {
			n.block = uint32(blocks)
			blocks += (n.size + BlockSize - 1) / BlockSize
		}
	}
	return blocks
}

// late reports whether the inode's data is written after the inodes.
func (n *Inode) late() bool {
	return !n.inline && n.size > 0 && (n.small != nil || !n.Is(TypeRegular))
}

// tail sets the size of what is not a regular file, and returns how many bytes could lie
// beside the inode.
func (n *Inode) tail() int {
	switch {
	case n.Is(TypeDir):
		size := n.direntsSize()
		n.size = uint64(size)
		if size > maxSmall {
			return 0
		}
		return size
	case n.Is(TypeSymlink):
		n.size = uint64(len(n.Target))
		return len(n.Target)
	}
	return len(n.small)
}

// data returns what is written for the inode beside or after the inodes.
func (n *Inode) data() []byte {
	switch {
	case n.Is(TypeDir):
		return n.dirents()
	case n.Is(TypeSymlink):
		return []byte(n.Target)
	}
	return n.small
}

// writeMeta writes the inodes from the block meta on, and then what did not fit there.
func (w *Writer) writeMeta(p *plan, meta uint32) error {
	out := bufio.NewWriterSize(io.NewOffsetWriter(w.out, int64(meta)*BlockSize), 1<<20)
	at := 0
	pad := func(to int) {
		for ; at < to; at++ {
			out.WriteByte(0)
		}
	}
	var b []byte
	for _, n := range p.inodes {
		pad(int(n.nid) * slotSize)
		b = n.encode(b[:0])
		if n.inline {
			b = append(b, n.data()...)
		}
		out.Write(b)
		at += len(b)
	}
	for _, n := range p.inodes {
		if n.late() {
			pad((int(n.block) - int(meta)) * BlockSize)
			b := n.data()
			out.Write(b)
			at += len(b)
		}
	}
	return out.Flush()
}
