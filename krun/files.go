package krun

import (
	"path"
	"slices"
	"strings"
)

// SetRoot makes a host directory the guest's root, writable. For a read-only
// one use AddVirtioFS3 with RootTag.
func (c *Context) SetRoot(dir string) error {
	return c.addFS(setRoot, rootTag, dir, str(dir))
}

// AddVirtioFS shares a host directory with the guest, writable, under a tag of
// at most 36 bytes.
func (c *Context) AddVirtioFS(tag, dir string) error {
	return c.addFS(addVirtioFS, tag, dir, str(tag), str(dir))
}

// AddVirtioFS2 is AddVirtioFS with the size of the DAX window in bytes; 0 for none.
func (c *Context) AddVirtioFS2(tag, dir string, shmSize uint64) error {
	return c.addFS(addVirtioFS2, tag, dir, str(tag), str(dir), u64(shmSize))
}

// AddVirtioFS3 is AddVirtioFS2 with the choice of a read-only share, which
// libkrun itself enforces. From 1.19 on, dir "" makes a file system without a
// host directory that holds only what FSAddOverlayFile and FSAddOverlayDir put
// there.
func (c *Context) AddVirtioFS3(tag, dir string, shmSize uint64, readOnly bool) error {
	return c.addFS(addVirtioFS3, tag, dir, str(tag), opt(dir), u64(shmSize), flag(readOnly))
}

func (c *Context) addFS(f fn, tag, dir string, args ...arg) error {
	return c.apply(change{f: f, args: args, devices: 1,
		check: func(symbol string) error {
			if err := c.checkTag(symbol, tag); err != nil {
				return err
			}
			if f == addVirtioFS3 && dir == "" {
				if !c.lib.Has(bound[fsAddOverlayFile].Name) {
					return invalid(symbol, "only libkrun 1.19.0 and later have a share without a directory")
				}
				return nil
			}
			return checkDir(symbol, dir)
		},
		remember: func() { c.tags = append(c.tags, tag) },
	})
}

// checkTag refuses tags on which libkrun aborts at the start, or of which the
// guest would see only one.
func (c *Context) checkTag(symbol, tag string) error {
	switch {
	case tag == "":
		return invalid(symbol, "the tag is empty")
	case strings.ContainsRune(tag, 0):
		return invalid(symbol, "the tag %q has a NUL byte", tag)
	case len(tag) > maxTag:
		return invalid(symbol, "the tag %q has %d bytes, at most %d fit", tag, len(tag), maxTag)
	case slices.Contains(c.tags, tag):
		return invalid(symbol, "the tag %q is in use", tag)
	}
	return nil
}

// OverlayFile is a file that exists only in the guest's view of a share.
type OverlayFile struct {
	Tag  string // of a share that was added before
	Path string // in the share; directories on the way must be overlay directories
	Data []byte // is copied
	Mode uint32 // with the type: 0100644
	// OneShot lets the guest look the file up once only.
	OneShot bool
}

// FSAddOverlayFile puts a file over a share.
func (c *Context) FSAddOverlayFile(f OverlayFile) error {
	data := keep(f.Data)
	err := c.apply(change{
		f: fsAddOverlayFile,
		args: []arg{str(f.Tag), str(f.Path), mem{data}, u64(len(f.Data)),
			u32(f.Mode), flag(f.OneShot)},
		check: func(symbol string) error { return c.checkOverlay(symbol, f.Tag, f.Path) },
		remember: func() {
			c.owned = append(c.owned, data)
		},
	})
	if err != nil {
		release(data)
	}
	return err
}

// FSAddOverlayDir puts an empty directory over a share, as a mount point or to
// hold overlay files. mode has the type: 040755.
func (c *Context) FSAddOverlayDir(tag, dir string, mode uint32) error {
	return c.apply(change{f: fsAddOverlayDir, args: []arg{str(tag), str(dir), u32(mode)},
		check: func(symbol string) error { return c.checkOverlay(symbol, tag, dir) }})
}

func (c *Context) checkOverlay(symbol, tag, name string) error {
	if !slices.Contains(c.tags, tag) {
		return invalid(symbol, "no share has the tag %q", tag)
	}
	if clean := path.Clean("/" + name); name == "" || clean == "/" || clean != "/"+strings.TrimPrefix(name, "/") {
		return invalid(symbol, "%q is not a clean path below the share", name)
	}
	return nil
}

// DisableImplicitInit keeps libkrun's init out of the guest's root. It must
// come before the root.
func (c *Context) DisableImplicitInit() error {
	return c.apply(change{f: disableImplicitInit, check: func(symbol string) error {
		if c.hasRoot() {
			return invalid(symbol, "the root was added before, so it has the init already")
		}
		return nil
	}})
}

// DiskFormat is the format of a disk image. A format other than raw can make
// libkrun open further files that the image names: use it only for images that
// no guest could write to.
type DiskFormat uint32

// The formats.
const (
	DiskRaw DiskFormat = iota
	DiskQcow2
	DiskVMDK
)

// DiskSync says what a guest's flush does.
type DiskSync uint32

// The modes. On Linux relaxed is the same as full.
const (
	SyncNone DiskSync = iota
	SyncRelaxed
	SyncFull
)

// Disk is a disk image or block device on the host. Disks appear in the guest in
// the order in which they were added: /dev/vda, /dev/vdb. The ID is libkrun's
// own; the guest does not see it, not even as the serial number.
type Disk struct {
	ID       string
	Path     string // absolute
	ReadOnly bool
	Format   DiskFormat // AddDisk2, AddDisk3
	DirectIO bool       // AddDisk3: bypass the host's page cache
	Sync     DiskSync   // AddDisk3
}

// AddDisk adds a raw disk; d.Format must be DiskRaw.
func (c *Context) AddDisk(d Disk) error {
	return c.addDisk(addDisk, d, d.Format == DiskRaw && d.onlyFormat(), str(d.ID), str(d.Path), flag(d.ReadOnly))
}

// AddDisk2 adds a disk of any format.
func (c *Context) AddDisk2(d Disk) error {
	return c.addDisk(addDisk2, d, d.onlyFormat(), str(d.ID), str(d.Path), u32(d.Format), flag(d.ReadOnly))
}

// AddDisk3 adds a disk with all that libkrun can say about it.
func (c *Context) AddDisk3(d Disk) error {
	return c.addDisk(addDisk3, d, true, str(d.ID), str(d.Path), u32(d.Format), flag(d.ReadOnly), flag(d.DirectIO), u32(d.Sync))
}

// onlyFormat says that AddDisk2 can express d.
func (d Disk) onlyFormat() bool { return !d.DirectIO && d.Sync == SyncNone }

// SetRootDisk is deprecated in libkrun: use AddDisk.
func (c *Context) SetRootDisk(path string) error {
	return c.addLegacyDisk(setRootDisk, path)
}

// SetDataDisk is deprecated in libkrun: use AddDisk.
func (c *Context) SetDataDisk(path string) error {
	return c.addLegacyDisk(setDataDisk, path)
}

func (c *Context) addDisk(f fn, d Disk, expressible bool, args ...arg) error {
	return c.apply(change{f: f, args: args, devices: 1,
		check: func(symbol string) error {
			switch {
			case !expressible:
				return invalid(symbol, "it cannot express this disk's format, direct I/O or sync mode")
			case d.ID == "" || slices.Contains(c.disks, d.ID):
				return invalid(symbol, "the disk id %q is empty or in use", d.ID)
			case c.set[setRootDisk] || c.set[setDataDisk]:
				return invalid(symbol, "SetRootDisk and SetDataDisk exclude it")
			}
			return checkFile(symbol, d.Path)
		},
		remember: func() { c.disks = append(c.disks, d.ID) },
	})
}

func (c *Context) addLegacyDisk(f fn, path string) error {
	return c.apply(change{f: f, args: []arg{str(path)}, devices: 1, once: []fn{f}, // a second one replaces the first
		check: func(symbol string) error {
			if len(c.disks) > 0 {
				return invalid(symbol, "AddDisk excludes it")
			}
			return checkFile(symbol, path)
		}})
}

// SetRootDiskRemount makes a disk the guest's root: device as the guest names it
// ("/dev/vda"), fstype "" or "auto" to try, options as for mount. The disk must
// have been added, and no other root.
func (c *Context) SetRootDiskRemount(device, fstype, options string) error {
	const names = len("KRUN_BLOCK_ROOT_DEVICE= KRUN_BLOCK_ROOT_FSTYPE= KRUN_BLOCK_ROOT_OPTIONS=")
	return c.apply(change{
		f:    setRootDiskRemount,
		args: []arg{str(device), opt(fstype), opt(options)}, devices: 1,
		text: names + len(device) + len(fstype) + len(options),
		check: func(symbol string) error {
			for _, s := range []string{device, fstype, options} {
				if err := checkWord(symbol, s); err != nil {
					return err
				}
			}
			if c.hasRoot() {
				return invalid(symbol, "the guest has a root already")
			}
			if len(c.disks) == 0 {
				return invalid(symbol, "no disk was added")
			}
			return nil
		},
		remember: func() { c.tags = append(c.tags, rootTag) },
	})
}
