package initramfs

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"openshell-vm/internal/fault"
)

// KernelEnv is the environment variable for an explicit kernel image. Programs read it;
// this package reads no environment.
const KernelEnv = "OPENSHELL_KERNEL"

// Kernel is one bootable kernel with its modules.
type Kernel struct {
	Image   string // path of the vmlinuz; readable by this process
	Release string // what uname -r says in the guest
	Modules string // directory with modules.dep; "" if none is installed
}

// Search says where to look for a kernel. The zero value is for this host.
type Search struct {
	// Explicit is the path of an image; if it is set nothing else is tried. Its modules
	// are in ../lib/modules/RELEASE beside it, as in an unpacked package, or in the
	// image's own directory, or where the host's are.
	Explicit string
	// Root goes before /boot and /lib/modules; "" for the host's own.
	Root string
}

// FindKernel returns the explicit kernel, or the newest installed one that this process
// may read and that has the modules for a guest. If there is none, the error says for each
// candidate why not, and its hint what to do.
func FindKernel(s Search) (Kernel, error) {
	if s.Explicit != "" {
		return s.explicit()
	}
	var refused []error
	for _, release := range s.releases() {
		k, err := s.installed(release)
		if err == nil {
			return k, nil
		}
		refused = append(refused, err)
	}
	if len(refused) == 0 {
		return Kernel{}, &fault.Error{
			Op:   "find a guest kernel",
			Err:  fmt.Errorf("no kernel is installed in %s", filepath.Join("/", s.Root, "boot")),
			Hint: "install one (Debian: apt install linux-image-cloud-amd64), or name one with " + KernelEnv,
		}
	}
	return Kernel{}, &fault.Error{
		Op:   "find a guest kernel",
		Err:  oneLine(refused),
		Hint: hintFor(refused),
	}
}

func oneLine(errs []error) error {
	var texts []string
	for _, err := range errs {
		texts = append(texts, err.Error())
	}
	return errors.New(strings.Join(texts, "; "))
}

func hintFor(errs []error) string {
	for _, err := range errs {
		if errors.Is(err, fs.ErrPermission) {
			return "make the image readable (sudo chmod 0644 /boot/vmlinuz-*), or name a readable copy with " + KernelEnv
		}
	}
	return "install a kernel with virtio-fs (Debian: apt install linux-image-cloud-amd64), or name one with " + KernelEnv
}

func (s Search) explicit() (Kernel, error) {
	release, err := imageRelease(s.Explicit)
	if err != nil {
		hint := "give a kernel image that exists and that you may read"
		if errors.Is(err, fs.ErrPermission) {
			hint = hintFor([]error{err})
		}
		return Kernel{}, &fault.Error{Op: "use the kernel " + s.Explicit, Err: err, Hint: hint}
	}
	k := Kernel{Image: s.Explicit, Release: release}
	beside := filepath.Join(filepath.Dir(s.Explicit), "..", "lib", "modules", release)
	for _, dir := range append([]string{beside, filepath.Dir(s.Explicit)}, s.moduleDirs(release)...) {
		if isFile(filepath.Join(dir, "modules.dep")) {
			k.Modules = filepath.Clean(dir)
			break
		}
	}
	if _, err := loadOrder(k.Modules); err != nil {
		return Kernel{}, &fault.Error{
			Op:   "use the kernel " + s.Explicit,
			Err:  err,
			Hint: "install the modules of " + release + " as /lib/modules/" + release + ", or unset " + KernelEnv,
		}
	}
	return k, nil
}

// releases lists the releases that have a modules directory, newest first.
func (s Search) releases() []string {
	var all []string
	for _, parent := range []string{"/lib/modules", "/usr/lib/modules"} {
		entries, err := os.ReadDir(filepath.Join("/", s.Root, parent))
		if err != nil {
			continue
		}
		for _, e := range entries {
			all = append(all, e.Name())
		}
	}
	slices.SortFunc(all, func(a, b string) int { return compareReleases(b, a) })
	return slices.Compact(all)
}

func (s Search) moduleDirs(release string) []string {
	return []string{
		filepath.Join("/", s.Root, "lib/modules", release),
		filepath.Join("/", s.Root, "usr/lib/modules", release),
	}
}

// installed returns the kernel of one release. It lies in /boot or, in newer
// distributions, beside its modules.
func (s Search) installed(release string) (Kernel, error) {
	k := Kernel{Release: release}
	candidates := []string{filepath.Join("/", s.Root, "boot", "vmlinuz-"+release)}
	for _, dir := range s.moduleDirs(release) {
		candidates = append(candidates, filepath.Join(dir, "vmlinuz"))
		if k.Modules == "" && isFile(filepath.Join(dir, "modules.dep")) {
			k.Modules = dir
		}
	}
	var unreadable error
	for _, image := range candidates {
		f, err := os.Open(image)
		if err == nil {
			f.Close()
			k.Image = image
			break
		}
		if unreadable == nil || errors.Is(err, fs.ErrPermission) {
			unreadable = err
		}
	}
	if k.Image == "" {
		return Kernel{}, unreadable
	}
	_, err := loadOrder(k.Modules)
	if err != nil {
		return Kernel{}, fmt.Errorf("kernel %s: %w", release, err)
	}
	return k, nil
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// imageRelease finds out what uname -r will say with an image: from the header of an x86
// bzImage, or else from the name, as in vmlinuz-RELEASE or RELEASE/vmlinuz.
func imageRelease(image string) (string, error) {
	f, err := os.Open(image)
	if err != nil {
		return "", err
	}
	defer f.Close()
	head := make([]byte, 0x8000)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return "", fmt.Errorf("read %s: %w", image, err)
	}
	if release := bzImageRelease(head[:n]); release != "" {
		return release, nil
	}
	name := filepath.Base(image)
	if _, release, ok := strings.Cut(name, "-"); ok {
		return release, nil
	}
	return filepath.Base(filepath.Dir(image)), nil
}

// bzImageRelease reads the release to which the header of the x86 boot protocol points; ""
// if head is no bzImage.
func bzImageRelease(head []byte) string {
	const magicAt, versionAt, setup = 0x202, 0x20e, 0x200
	if len(head) < versionAt+2 || !bytes.Equal(head[magicAt:magicAt+4], []byte("HdrS")) {
		return ""
	}
	at := setup + int(binary.LittleEndian.Uint16(head[versionAt:]))
	if at == setup || at >= len(head) {
		return ""
	}
	text, _, _ := bytes.Cut(head[at:], []byte{0})
	release, _, _ := strings.Cut(string(text), " ")
	return release
}

// compareReleases compares the numbers in the names as numbers: 6.10 is newer than 6.9.
func compareReleases(a, b string) int {
	for a != "" && b != "" {
		var x, y string
		x, a = cutRun(a)
		y, b = cutRun(b)
		if x == y {
			continue
		}
		if isDigit(x[0]) && isDigit(y[0]) {
			x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
			if c := cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y)); c != 0 {
				return c
			}
			continue
		}
		return cmp.Compare(x, y)
	}
	return cmp.Compare(len(a), len(b))
}

// cutRun splits off the leading run of digits or of other characters.
func cutRun(s string) (run, rest string) {
	i := 1
	for i < len(s) && isDigit(s[i]) == isDigit(s[0]) {
		i++
	}
	return s[:i], s[i:]
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
