package krun

import "slices"

// DiskFormat is the format of a disk image. An image that is not raw can name further
// files, and libkrun opens these: use such a format only for images that no guest could
// write to.
type DiskFormat uint32

const (
	DiskRaw DiskFormat = iota
	DiskQcow2
	DiskVMDK
)

// DiskSync says what a guest's flush does. The zero value loses nothing; C numbers the
// modes the other way round.
type DiskSync uint32

const (
	SyncFull    DiskSync = iota // data is on the disk
	SyncRelaxed                 // on macOS, data may still be in the drive's cache; elsewhere the same as SyncFull
	SyncNone                    // nothing: a crash of the host loses data that the guest has flushed
)

// c is the mode's number in C. For a mode that does not exist libkrun refuses it.
func (s DiskSync) c() u32 { return u32(SyncNone - s) }

// Disk is a disk image or block device on the host. Disks appear in the guest in
// the order in which they were added: /dev/vda, /dev/vdb. The ID is libkrun's
// own; the guest does not see it, not even as the serial number.
type Disk struct {
	ID       string
	Path     string // absolute
	ReadOnly bool
	Format   DiskFormat // AddDisk2, AddDisk3
	DirectIO bool       // AddDisk3: bypass the host's page cache
	Sync     DiskSync   // AddDisk3; the others have SyncFull, on macOS SyncRelaxed
}

// AddDisk adds a raw disk; d.Format must be DiskRaw.
func (c *Context) AddDisk(d Disk) error {
	return c.addDisk(addDisk, d, d.Format == DiskRaw && d.onlyFormat(), str(d.ID), str(d.Path), flag(d.ReadOnly))
}

// AddDisk2 adds a disk of any format.
func (c *Context) AddDisk2(d Disk) error {
	return c.addDisk(addDisk2, d, d.onlyFormat(), str(d.ID), str(d.Path), u32(d.Format), flag(d.ReadOnly))
}

// AddDisk3 adds a disk with all of Disk's fields.
func (c *Context) AddDisk3(d Disk) error {
	return c.addDisk(addDisk3, d, true, str(d.ID), str(d.Path), u32(d.Format), flag(d.ReadOnly), flag(d.DirectIO), d.Sync.c())
}

// onlyFormat reports whether AddDisk2 can express d.
func (d Disk) onlyFormat() bool { return !d.DirectIO && d.Sync == SyncFull }

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
		text: map[fn]int{setRootDiskRemount: names + len(device) + len(fstype) + len(options)},
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
