package krun

import (
	"path"
	"slices"
	"strings"
)

// SetRoot makes a host directory the guest's root, writable. For a read-only root use
// AddVirtioFS3 with RootTag.
func (c *Context) SetRoot(dir string) error {
	return c.addFS(setRoot, rootTag, dir, str(dir))
}

// AddVirtioFS shares a host directory with the guest, writable, under a tag of
// at most 36 bytes.
func (c *Context) AddVirtioFS(tag, dir string) error {
	return c.addFS(addVirtioFS, tag, dir, str(tag), str(dir))
}

// AddVirtioFS2 is AddVirtioFS with the size of the DAX window in bytes. 0 means none,
// and is right for small files.
func (c *Context) AddVirtioFS2(tag, dir string, shmSize uint64) error {
	return c.addFS(addVirtioFS2, tag, dir, str(tag), str(dir), u64(shmSize))
}

// AddVirtioFS3 is AddVirtioFS2 with the choice of a read-only share; libkrun itself
// enforces it. From 1.19 on, dir "" makes a file system without a host directory: it has
// only what FSAddOverlayFile and FSAddOverlayDir put there.
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
			return checkShare(symbol, dir)
		},
		remember: func() { c.tags = append(c.tags, tag) },
	})
}

// checkTag refuses tags that make libkrun abort at the start, and tags used twice: the
// guest would see only one.
func (c *Context) checkTag(symbol, tag string) error {
	switch {
	case tag == "":
		return invalid(symbol, "the tag is empty")
	case len(tag) > maxTag:
		return invalid(symbol, "the tag %q has %d bytes, at most %d fit", tag, len(tag), maxTag)
	case slices.Contains(c.tags, tag):
		return invalid(symbol, "the tag %q is in use", tag)
	}
	return nil
}

// overlayName says where an overlay entry is.
type overlayName struct{ tag, path string }

// OverlayFile is a file that exists only in the guest's view of a share.
type OverlayFile struct {
	Tag  string // of a share that was added before
	Path string // in the share; directories on the way must be overlay directories
	Data []byte // the method copies it
	Mode uint32 // permission bits, such as 0644
	// OneShot lets the guest look the file up only once.
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
			c.rememberOverlay(f.Tag, f.Path)
		},
	})
	if err != nil {
		release(data)
	}
	return err
}

// FSAddOverlayDir puts an empty directory over a share, as a mount point or for overlay
// files. mode is the permission bits, such as 0755.
func (c *Context) FSAddOverlayDir(tag, dir string, mode uint32) error {
	return c.apply(change{f: fsAddOverlayDir, args: []arg{str(tag), str(dir), u32(mode)},
		check:    func(symbol string) error { return c.checkOverlay(symbol, tag, dir) },
		remember: func() { c.rememberOverlay(tag, dir) }})
}

func (c *Context) checkOverlay(symbol, tag, name string) error {
	if !slices.Contains(c.tags, tag) {
		return invalid(symbol, "no share has the tag %q", tag)
	}
	if clean := path.Clean("/" + name); name == "" || clean == "/" || clean != "/"+strings.TrimPrefix(name, "/") {
		return invalid(symbol, "%q is not a clean path below the share", name)
	}
	// libkrun accepts a second entry with the same name, and the guest sees one of them.
	entry := overlayName{tag, strings.TrimPrefix(name, "/")}
	implicit := entry == overlayName{rootTag, initName} && !c.set[disableImplicitInit]
	if implicit || slices.Contains(c.overlays, entry) {
		return invalid(symbol, "%q is over the share %q already", name, tag)
	}
	return nil
}

func (c *Context) rememberOverlay(tag, name string) {
	c.overlays = append(c.overlays, overlayName{tag, strings.TrimPrefix(name, "/")})
}

// DisableImplicitInit keeps libkrun's init out of the guest's root. Call it before the
// root is added.
func (c *Context) DisableImplicitInit() error {
	return c.apply(change{f: disableImplicitInit, check: func(symbol string) error {
		if c.hasRoot() {
			return invalid(symbol, "the root was added before, so it has the init already")
		}
		return nil
	}})
}
