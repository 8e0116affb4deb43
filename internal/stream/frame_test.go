package stream

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestFramesRoundTrip(t *testing.T) {
	var wire bytes.Buffer
	w := NewWriter(&wire)
	long := strings.Repeat("x", MaxPayload+1)
	for _, f := range []Frame{
		{Stdout, 0, []byte("hello")},
		{StdinClose, 0xffffff, nil},
		{Stderr, 7, []byte(long)}, // two frames
		{Exit, 7, EncodeExit(-1)},
	} {
		if err := w.Write(f.Kind, f.Session, f.Payload); err != nil {
			t.Fatal(err)
		}
	}
	r := NewReader(&wire)
	for i, want := range []Frame{
		{Stdout, 0, []byte("hello")},
		{StdinClose, 0xffffff, nil},
		{Stderr, 7, []byte(long[:MaxPayload])},
		{Stderr, 7, []byte("x")},
		{Exit, 7, EncodeExit(-1)},
	} {
		got, err := r.Read()
		if err != nil || got.Kind != want.Kind || got.Session != want.Session || !bytes.Equal(got.Payload, want.Payload) {
			t.Errorf("frame %d: kind %d session %d with %d bytes, %v", i, got.Kind, got.Session, len(got.Payload), err)
		}
	}
	if _, err := r.Read(); err != io.EOF {
		t.Errorf("at the end: %v, io.EOF is wanted", err)
	}
}

func TestReadRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		wire []byte
		want error // nil: any
	}{
		"cut header":  {[]byte{1, 0, 0}, io.ErrUnexpectedEOF},
		"cut payload": {[]byte{3, 0, 0, 0, 0, 0, 0, 2, 'x'}, io.ErrUnexpectedEOF},
		"too long":    {[]byte{3, 0, 0, 0, 0xff, 0, 0, 0}, nil},
	} {
		_, err := NewReader(bytes.NewReader(c.wire)).Read()
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWriterTo(t *testing.T) {
	var wire bytes.Buffer
	to := NewWriter(&wire).To(Stdout, 3)
	for _, p := range []string{"", "ab"} { // an empty write is no frame
		if n, err := to.Write([]byte(p)); n != len(p) || err != nil {
			t.Errorf("Write(%q) = %d, %v", p, n, err)
		}
	}
	f, err := NewReader(&wire).Read()
	if err != nil || string(f.Payload) != "ab" || f.Session != 3 || wire.Len() != 0 {
		t.Errorf("%+v, %v, %d bytes more", f, err, wire.Len())
	}
}

func TestPayloads(t *testing.T) {
	for _, code := range []int{0, 1, 255} {
		if got, err := DecodeExit(EncodeExit(code)); got != code || err != nil {
			t.Errorf("exit code %d came out as %d, %v", code, got, err)
		}
	}
	for _, code := range []int{-1, 256, 1 << 30} {
		if got, err := DecodeExit(EncodeExit(code)); err == nil {
			t.Errorf("exit code %d was taken, as %d", code, got)
		}
	}
	if rows, cols, err := DecodeSize(EncodeSize(24, 80)); rows != 24 || cols != 80 || err != nil {
		t.Errorf("24x80 came out as %dx%d, %v", rows, cols, err)
	}
	if _, err := DecodeExit(nil); err == nil {
		t.Error("an empty exit frame was taken")
	}
	if _, _, err := DecodeSize([]byte{1}); err == nil {
		t.Error("a short resize frame was taken")
	}
}

// FuzzRead checks that Read returns a frame or an error whatever arrives, and that a
// frame is written back as the same bytes.
func FuzzRead(f *testing.F) {
	f.Add([]byte{3, 0, 0, 1, 0, 0, 0, 2, 'h', 'i'})
	f.Fuzz(func(t *testing.T, wire []byte) {
		r := NewReader(bytes.NewReader(wire))
		read, again := 0, bytes.Buffer{}
		for w := NewWriter(&again); ; {
			frame, err := r.Read()
			if err != nil {
				break
			}
			read += headerSize + len(frame.Payload)
			if err := w.Write(frame.Kind, frame.Session, frame.Payload); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(again.Bytes(), wire[:read]) {
			t.Errorf("%x was written back as %x", wire[:read], again.Bytes())
		}
	})
}
