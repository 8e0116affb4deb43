package initramfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"openshell-vm/internal/fault"
)

const usable = "kernel/fs/ext4/ext4.ko\n"

// host makes a root directory with kernels of the given releases in /boot.
func host(t *testing.T, releases ...string) string {
	t.Helper()
	root := t.TempDir()
	for _, r := range releases {
		modulesDir(t, filepath.Join(root, "lib/modules", r), debian12, usable)
		write(t, filepath.Join(root, "boot/vmlinuz-"+r), "image")
	}
	return root
}

func TestFindKernelTakesTheNewestThatWorks(t *testing.T) {
	root := host(t, "6.1.0-9-cloud-amd64", "6.1.0-56-cloud-amd64", "5.10.0-1-amd64")
	check := func(want string) {
		t.Helper()
		k, err := FindKernel(Search{Root: root})
		if err != nil || k.Release != want {
			t.Fatalf("found %+v, %v; want %s", k, err, want)
		}
	}
	check("6.1.0-56-cloud-amd64")

	modulesDir(t, filepath.Join(root, "lib/modules/6.9.0"), strings.ReplaceAll(debian12, "virtiofs", "x"), usable)
	write(t, filepath.Join(root, "boot/vmlinuz-6.9.0"), "image") // has no virtio-fs
	modulesDir(t, filepath.Join(root, "lib/modules/6.8.0"), debian12, usable)
	check("6.1.0-56-cloud-amd64") // 6.8.0 has no image

	write(t, filepath.Join(root, "lib/modules/6.8.0/vmlinuz"), "image") // as on Fedora
	check("6.8.0")
}

func TestFindKernelSaysWhyNot(t *testing.T) {
	_, err := FindKernel(Search{Root: t.TempDir()})
	if err == nil || !strings.Contains(fault.HintOf(err), KernelEnv) {
		t.Errorf("without kernels: %v, hint %q", err, fault.HintOf(err))
	}
	root := t.TempDir()
	modulesDir(t, filepath.Join(root, "lib/modules/6.1.0"), "", "")
	write(t, filepath.Join(root, "boot/vmlinuz-6.1.0"), "image")
	_, err = FindKernel(Search{Root: root})
	if err == nil || !strings.Contains(err.Error(), "kernel 6.1.0: it has no virtio devices") {
		t.Errorf("with a bare kernel: %v", err)
	}
	denied := fmt.Errorf("open: %w", fs.ErrPermission)
	if hint := hintFor([]error{errors.New("other"), denied}); !strings.Contains(hint, "chmod") {
		t.Errorf("an unreadable image gives the hint %q", hint)
	}
}

func TestFindExplicitKernel(t *testing.T) {
	// As in an unpacked package: boot/vmlinuz-R and lib/modules/R.
	unpacked := host(t, "6.12.1")
	image := filepath.Join(unpacked, "boot/vmlinuz-6.12.1")
	k, err := FindKernel(Search{Explicit: image, Root: t.TempDir()})
	want := Kernel{image, "6.12.1", filepath.Join(unpacked, "lib/modules/6.12.1")}
	if err != nil || k != want {
		t.Errorf("found %+v, %v; want %+v", k, err, want)
	}

	// A copy somewhere, the modules where the host's are.
	elsewhere := filepath.Join(t.TempDir(), "kernel")
	write(t, elsewhere, string(bzImage("6.12.1 (builder) #1 SMP")))
	k, err = FindKernel(Search{Explicit: elsewhere, Root: unpacked})
	if err != nil || k.Release != "6.12.1" || k.Modules != want.Modules {
		t.Errorf("found %+v, %v", k, err)
	}

	for _, path := range []string{"/no/such/file", filepath.Join(host(t), "nothing"), t.TempDir()} {
		if _, err := FindKernel(Search{Explicit: path, Root: unpacked}); err == nil || fault.HintOf(err) == "" {
			t.Errorf("%s: %v, hint %q", path, err, fault.HintOf(err))
		}
	}
	write(t, elsewhere, string(bzImage("1.2.3 #1")))
	if _, err := FindKernel(Search{Explicit: elsewhere, Root: unpacked}); err == nil || !strings.Contains(fault.HintOf(err), "1.2.3") {
		t.Errorf("a kernel without its modules: %v, hint %q", err, fault.HintOf(err))
	}
}

// bzImage returns the part of an x86 kernel that has its version.
func bzImage(version string) []byte {
	const at = 0x300
	head := make([]byte, 0x400)
	copy(head[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(head[0x20e:], at-0x200)
	copy(head[at:], version+"\x00")
	return head
}

func TestBzImageRelease(t *testing.T) {
	beyond := bzImage("")
	binary.LittleEndian.PutUint16(beyond[0x20e:], 0xfff0)
	for name, c := range map[string]struct {
		head []byte
		want string
	}{
		"good":       {bzImage("6.1.0-56-cloud-amd64 (x) #1"), "6.1.0-56-cloud-amd64"},
		"no pointer": {append(bzImage("")[:0x20e], 0, 0), ""},
		"beyond":     {beyond, ""},
		"short":      {[]byte("HdrS"), ""},
		"other":      {make([]byte, 0x1000), ""},
	} {
		if got := bzImageRelease(c.head); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestCompareReleases(t *testing.T) {
	order := []string{"5.10.0", "6.1.0-9-amd64", "6.1.0-10-amd64", "6.1.0-010-cloud", "6.9.0", "6.10.0-rc1", "6.10.1", "6.10.1+deb13", "10.0"}
	shuffled := slices.Clone(order)
	slices.Reverse(shuffled)
	slices.SortFunc(shuffled, compareReleases)
	if !slices.Equal(shuffled, order) {
		t.Errorf("sorted as %q, want %q", shuffled, order)
	}
	if compareReleases("6.1", "6.1") != 0 {
		t.Error("a release differs from itself")
	}
}
