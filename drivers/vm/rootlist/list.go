package rootlist

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// A list is the header, the number of its entries in 8 bytes, and the entries. Numbers are
// varints; strings have their length before them.
const header = "openshell root list 1\n"

// longestString bounds a string, in bytes. The longest is an attribute's value.
const longestString = 64 << 10

// Create walks dir and writes the list into file, which must not exist. After an error
// there is no file. Create calls told after each entry, with the number of entries so far.
// An error of told ends the walk.
func Create(file, dir string, masks []string, told func(entries uint64) error) (count uint64, unread Unread, err error) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, Unread{}, err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			os.Remove(file)
		}
	}()
	out := bufio.NewWriterSize(f, 1<<20)
	out.WriteString(header)
	out.Write(make([]byte, 8))
	var record []byte
	unread, err = Walk(dir, masks, func(e Entry) error {
		count++
		record = e.appendTo(record[:0])
		out.Write(record)
		return told(count)
	})
	if err == nil {
		err = out.Flush() // returns also an earlier Write's error
	}
	if err == nil {
		_, err = f.WriteAt(binary.BigEndian.AppendUint64(nil, count), int64(len(header)))
	}
	return count, unread, err
}

func (e Entry) appendTo(b []byte) []byte {
	b = appendString(b, e.Name)
	for _, n := range []uint64{uint64(e.Mode), uint64(e.UID), uint64(e.GID), e.Device, uint64(e.Size), e.File[0], e.File[1]} {
		b = binary.AppendUvarint(b, n)
	}
	for _, t := range []unix.Timespec{e.Access, e.Modify} {
		b = binary.AppendVarint(binary.AppendVarint(b, t.Sec), t.Nsec)
	}
	b = appendString(b, e.Target)
	b = binary.AppendUvarint(b, uint64(len(e.Attributes)))
	for _, a := range e.Attributes {
		b = appendString(appendString(b, a.Name), string(a.Value))
	}
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// Read reads a list that Create wrote, and calls visit for each entry. Before the first it
// calls begin with the number of entries.
func Read(r io.Reader, begin func(entries uint64), visit func(Entry) error) error {
	in := reader{r: bufio.NewReaderSize(r, 1<<20)}
	head := make([]byte, len(header)+8)
	if _, err := io.ReadFull(in.r, head); err != nil {
		return fmt.Errorf("read the list of the root: %w", err)
	}
	if string(head[:len(header)]) != header {
		return errors.New("the list of the root is of another version")
	}
	count := binary.BigEndian.Uint64(head[len(header):])
	begin(count)
	for range count {
		e := in.entry()
		if in.err != nil {
			return fmt.Errorf("read the list of the root: %w", in.err)
		}
		if err := visit(e); err != nil {
			return err
		}
	}
	return nil
}

// reader keeps the first error, and returns zeros after it.
type reader struct {
	r   *bufio.Reader
	err error
}

func (r *reader) entry() (e Entry) {
	e.Name = r.string()
	e.Mode, e.UID, e.GID = r.number32(), r.number32(), r.number32()
	e.Device, e.Size = r.number(), int64(r.number())
	e.File = [2]uint64{r.number(), r.number()}
	e.Access, e.Modify = r.time(), r.time()
	e.Target = r.string()
	for range r.number() {
		if r.err != nil {
			break
		}
		e.Attributes = append(e.Attributes, Attribute{r.string(), []byte(r.string())})
	}
	return e
}

func (r *reader) number() uint64 {
	if r.err != nil {
		return 0
	}
	var n uint64
	n, r.err = binary.ReadUvarint(r.r)
	return n
}

func (r *reader) number32() uint32 {
	n := r.number()
	if n > math.MaxUint32 && r.err == nil {
		r.err = fmt.Errorf("%d is too much", n)
	}
	return uint32(n)
}

func (r *reader) time() unix.Timespec {
	return unix.Timespec{Sec: r.signed(), Nsec: r.signed()}
}

func (r *reader) signed() int64 {
	if r.err != nil {
		return 0
	}
	var n int64
	n, r.err = binary.ReadVarint(r.r)
	return n
}

func (r *reader) string() string {
	n := r.number()
	if n > longestString && r.err == nil {
		r.err = fmt.Errorf("a string of %d bytes is too long", n)
	}
	if r.err != nil {
		return ""
	}
	b := make([]byte, n)
	_, r.err = io.ReadFull(r.r, b)
	return string(b)
}
