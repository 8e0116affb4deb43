// Package unpack reads what may be compressed, as layers and archives of images are: with
// gzip, zstd or not at all.
package unpack

import (
	"bufio"
	"bytes"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

var (
	gzipMagic = []byte{0x1f, 0x8b}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
)

// maxWindow bounds what a zstd stream may make its reader remember, in bytes. The zstd
// program makes none with more, unless it is asked to.
const maxWindow = 128 << 20

// Compressed reports whether r is compressed. It takes nothing out of r.
func Compressed(r *bufio.Reader) bool {
	return starts(r, gzipMagic) || starts(r, zstdMagic)
}

// Reader reads what r holds when it is unpacked.
func Reader(r *bufio.Reader) (io.ReadCloser, error) {
	switch {
	case starts(r, gzipMagic):
		return gzip.NewReader(r)
	case starts(r, zstdMagic):
		d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(maxWindow))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}
	return io.NopCloser(r), nil
}

// starts says no if r is too short or can't be read: then the reader says more.
func starts(r *bufio.Reader, with []byte) bool {
	head, _ := r.Peek(len(with))
	return bytes.Equal(head, with)
}
