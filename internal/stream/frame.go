package stream

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync"
)

// Kind says what a frame's payload is. The numbers are part of the protocol and never
// change.
type Kind byte

const (
	Stdin      Kind = 1 // bytes for the process
	StdinClose Kind = 2 // no payload: end of standard input
	Stdout     Kind = 3
	Stderr     Kind = 4
	Resize     Kind = 5 // 4 bytes: rows, cols, big-endian uint16
	Signal     Kind = 6 // 1 byte: signal number
	Exit       Kind = 7 // 4 bytes: exit code, big-endian; the session's last frame
	Error      Kind = 8 // text: why the session has no exit code; the session's last frame
	// 9 and 10 were Pause and Continue, used only between a VM's monitor and its guest init.
	Credit  Kind = 11 // 4 bytes: how many more bytes the other side may send, big-endian uint32
	Abort   Kind = 12 // text: why this side gives the session up; its last frame
	Control Kind = 16 // JSON: a control message
)

// MaxPayload bounds a frame's payload, in bytes. A Reader refuses a longer one, and a Writer
// splits it.
const MaxPayload = 32 << 10

const headerSize = 8

// Frame is one frame. A Reader's Payload is valid until its next Read.
type Frame struct {
	Kind    Kind
	Session uint32 // 24 bits
	Payload []byte
}

// Reader reads frames. It is not safe for concurrent use.
type Reader struct {
	r   io.Reader
	buf [headerSize + MaxPayload]byte
}

// NewReader returns a Reader of r. It reads no byte beyond the current frame.
func NewReader(r io.Reader) *Reader { return &Reader{r: r} }

// Read returns the next frame. The error is io.EOF at an end between frames, and
// io.ErrUnexpectedEOF at an end inside a frame.
func (r *Reader) Read() (Frame, error) {
	header := r.buf[:headerSize]
	if _, err := io.ReadFull(r.r, header); err != nil {
		return Frame{}, err
	}
	n := binary.BigEndian.Uint32(header[4:])
	if n > MaxPayload {
		return Frame{}, broken("frame of %d bytes, at most %d are allowed", n, MaxPayload)
	}
	session := binary.BigEndian.Uint32(header[:4]) & 0xffffff
	kind := Kind(header[0])
	payload := r.buf[headerSize : headerSize+int(n)]
	if _, err := io.ReadFull(r.r, payload); err != nil {
		return Frame{}, io.ErrUnexpectedEOF
	}
	return Frame{Kind: kind, Session: session, Payload: payload}, nil
}

// Writer writes frames, each with one Write call. It is safe for concurrent use.
type Writer struct {
	mu  sync.Mutex
	w   io.Writer
	buf [headerSize + MaxPayload]byte
}

// NewWriter returns a Writer to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Write sends payload as one frame, or as several if it is over MaxPayload.
func (w *Writer) Write(kind Kind, session uint32, payload []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		n := min(len(payload), MaxPayload)
		binary.BigEndian.PutUint32(w.buf[:4], session&0xffffff)
		w.buf[0] = byte(kind)
		binary.BigEndian.PutUint32(w.buf[4:], uint32(n))
		copy(w.buf[headerSize:], payload[:n])
		if _, err := w.w.Write(w.buf[:headerSize+n]); err != nil {
			return err
		}
		if payload = payload[n:]; len(payload) == 0 {
			return nil
		}
	}
}

// To returns an io.Writer that sends what is written to it as frames of one kind.
func (w *Writer) To(kind Kind, session uint32) io.Writer {
	return writerTo{w, kind, session}
}

type writerTo struct {
	w       *Writer
	kind    Kind
	session uint32
}

func (w writerTo) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := w.w.Write(w.kind, w.session, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// EncodeExit returns the payload of an Exit frame.
func EncodeExit(code int) []byte {
	return binary.BigEndian.AppendUint32(nil, uint32(int32(code)))
}

// DecodeExit reads the payload of an Exit frame. A number that is no exit code is an error:
// a guest may send any number, and a shell would take 256 for a success.
func DecodeExit(p []byte) (int, error) {
	if len(p) != 4 {
		return 0, fmt.Errorf("exit frame of %d bytes, 4 are wanted", len(p))
	}
	code := int(int32(binary.BigEndian.Uint32(p)))
	if code < 0 || code > 255 {
		return 0, fmt.Errorf("%d is no exit code", code)
	}
	return code, nil
}

// EncodeSize returns the payload of a Resize frame.
func EncodeSize(rows, cols uint16) []byte {
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, rows), cols)
}

// encodeCredit returns the payload of a Credit frame.
func encodeCredit(n int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(n)) }

func decodeCredit(p []byte) (int, error) {
	if len(p) != 4 {
		return 0, fmt.Errorf("credit frame of %d bytes, 4 are wanted", len(p))
	}
	return int(binary.BigEndian.Uint32(p)), nil
}

// DecodeSize reads the payload of a Resize frame.
func DecodeSize(p []byte) (rows, cols uint16, err error) {
	if len(p) != 4 {
		return 0, 0, fmt.Errorf("resize frame of %d bytes, 4 are wanted", len(p))
	}
	return binary.BigEndian.Uint16(p), binary.BigEndian.Uint16(p[2:]), nil
}
