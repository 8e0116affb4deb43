package initramfs

import (
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/cavaliergopher/cpio"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"openshell-vm/drivers/vm/guest"
)

// Write writes the initramfs for k to w: init as /init, and the modules. Numbers in front
// of the modules' names put them in load order. The archive is not compressed: the
// hypervisor copies it into the guest's memory quickly, and unpacking would cost an
// emulated processor more than that saves.
//
// The same input gives the same bytes.
func Write(w io.Writer, k Kernel, init string) error {
	order, err := loadOrder(k.Modules)
	if err != nil {
		return err
	}
	archive := cpio.NewWriter(w)
	a := &archiver{w: archive}
	for _, dir := range guest.InitramfsDirs {
		a.dir(dir)
	}
	a.copy("init", 0o755, init)
	for i, file := range order {
		name := fmt.Sprintf("%03d-%s.ko", i, moduleName(file))
		a.copy(filepath.Join(guest.ModulesDir, name), 0o644, filepath.Join(k.Modules, file))
	}
	if a.err != nil {
		return a.err
	}
	return archive.Close()
}

// archiver adds entries. It keeps the first error and adds no more after it.
type archiver struct {
	w   *cpio.Writer
	err error
}

func (a *archiver) dir(name string) {
	a.add(&cpio.Header{Name: strings.TrimPrefix(name, "/"), Mode: cpio.TypeDir | 0o755, Links: 2}, nil)
}

func (a *archiver) copy(name string, mode cpio.FileMode, from string) {
	if a.err != nil {
		return
	}
	data, err := readModule(from)
	if err != nil {
		a.err = err
		return
	}
	a.add(&cpio.Header{
		Name: strings.TrimPrefix(name, "/"), Mode: cpio.TypeReg | mode, Links: 1, Size: int64(len(data)),
	}, data)
}

func (a *archiver) add(h *cpio.Header, data []byte) {
	if a.err == nil {
		a.err = a.w.WriteHeader(h)
	}
	if a.err == nil && len(data) > 0 {
		_, a.err = a.w.Write(data)
	}
}

// readModule reads a file and unpacks it by its extension. Not every kernel can unpack a
// module when it loads it.
func readModule(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var r io.Reader = f
	switch filepath.Ext(file) {
	case ".xz":
		r, err = xz.NewReader(f)
	case ".gz":
		r, err = gzip.NewReader(f)
	case ".zst":
		var d *zstd.Decoder
		if d, err = zstd.NewReader(f, zstd.WithDecoderConcurrency(1)); err == nil {
			defer d.Close()
			r = d
		}
	}
	if err != nil {
		return nil, fmt.Errorf("unpack %s: %w", file, err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("unpack %s: %w", file, err)
	}
	return data, nil
}
