package initramfs

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// debian12 is like Debian 12's cloud kernel: most is a module, and the virtio modules depend on
// virtio_ring.
const debian12 = `kernel/fs/ext4/other.ko:
kernel/fs/fuse/fuse.ko:
kernel/fs/fuse/virtiofs.ko: kernel/fs/fuse/fuse.ko kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
kernel/fs/overlayfs/overlay.ko:
kernel/drivers/virtio/virtio.ko: kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/virtio/virtio_ring.ko:
kernel/drivers/virtio/virtio_pci_modern_dev.ko:
kernel/drivers/virtio/virtio_pci.ko: kernel/drivers/virtio/virtio_pci_modern_dev.ko kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/block/virtio_blk.ko: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/char/virtio_console.ko: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/char/hw_random/virtio-rng.ko: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
`

// modulesDir makes a directory with the two lists and the module files. Each of these has its own name
// as content.
func modulesDir(t *testing.T, dir, deps, builtin string) string {
	t.Helper()
	for line := range strings.Lines(deps) {
		file, _, _ := strings.Cut(line, ":")
		write(t, filepath.Join(dir, file), file)
	}
	write(t, filepath.Join(dir, "modules.dep"), deps)
	write(t, filepath.Join(dir, "modules.builtin"), builtin)
	return dir
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestLoadOrder(t *testing.T) {
	dir := modulesDir(t, t.TempDir(), debian12, "kernel/fs/ext4/ext4.ko\n")
	order, err := loadOrder(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range order {
		names = append(names, moduleName(file))
	}
	for before, after := range map[string]string{
		"virtio_ring": "virtio", "virtio": "virtio_pci", "virtio_pci_modern_dev": "virtio_pci",
		"fuse": "virtiofs",
	} {
		if i, j := slices.Index(names, before), slices.Index(names, after); i < 0 || j < 0 || i > j {
			t.Errorf("%s does not come before %s in %v", before, after, names)
		}
	}
	for _, name := range []string{"virtio_blk", "virtio_console", "overlay", "virtio_rng"} {
		if !slices.Contains(names, name) {
			t.Errorf("%s is missing in %v", name, names)
		}
	}
	if slices.Contains(names, "other") || len(slices.Compact(slices.Sorted(slices.Values(names)))) != len(names) {
		t.Errorf("there is too much in %v", names)
	}
}

func TestLoadOrderOfABuiltinKernel(t *testing.T) {
	builtin := ""
	for _, name := range []string{"virtio-pci", "virtio_console", "virtiofs", "virtio_blk", "overlay", "ext4"} {
		builtin += "kernel/" + name + ".ko\n"
	}
	order, err := loadOrder(modulesDir(t, t.TempDir(), "", builtin))
	if err != nil || len(order) != 0 {
		t.Errorf("modules %v, %v; want none", order, err)
	}
}

func TestLoadOrderRefuses(t *testing.T) {
	for name, c := range map[string]struct{ deps, builtin, want string }{
		"no virtio-fs": {strings.ReplaceAll(debian12, "virtiofs", "nothing"), "ext4.ko\n", "virtio-fs"},
		"no ext4":      {debian12, "", "ext4"},
		"a broken dep": {"kernel/x.ko\n", "", "colon"},
	} {
		if _, err := loadOrder(modulesDir(t, t.TempDir(), c.deps, c.builtin)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if _, err := loadOrder(""); err == nil {
		t.Error("a kernel without modules is taken")
	}
	if _, err := loadOrder(t.TempDir()); err == nil {
		t.Error("a directory without modules.dep is taken")
	}
}

func TestModuleName(t *testing.T) {
	for file, want := range map[string]string{
		"kernel/a/virtio-rng.ko": "virtio_rng", "b/fuse.ko.xz": "fuse", "crc32c_generic.ko.zst": "crc32c_generic",
	} {
		if got := moduleName(file); got != want {
			t.Errorf("%s is %s, want %s", file, got, want)
		}
	}
}
