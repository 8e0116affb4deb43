//go:build e2e && amd64

package kvm

import (
	"bytes"
	"compress/gzip"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cavaliergopher/cpio"
)

// TestProbeWhereKVMWorks boots a machine whose processor is emulated with AMD-V, and probes there: KVM
// runs guests in it.
func TestProbeWhereKVMWorks(t *testing.T) {
	image, release := kernel(t)
	dir := t.TempDir()
	initramfs := filepath.Join(dir, "initramfs.gz")
	writeInitramfs(t, initramfs, buildInit(t, dir), modules(t, release, "kvm_amd"))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "qemu-system-x86_64", "-nodefaults", "-nographic", "-no-reboot",
		"-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max,+svm,+npt", "-smp", "1", "-m", "512M",
		"-kernel", image, "-initrd", initramfs, "-append", "console=ttyS0 panic=-1 quiet", "-serial", "stdio").CombinedOutput()
	if err != nil {
		t.Fatalf("the outer machine: %v\n%s", err, out)
	}
	if !strings.Contains(string(out), `PROBE {"usable":true}`) {
		t.Errorf("the outer machine said:\n%s", out)
	}
}

// missing skips the test, or fails it if every part is required.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("E2E_REQUIRE") == "1" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// kernel finds an installed kernel with the modules.
func kernel(t *testing.T) (image, release string) {
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		missing(t, err.Error())
	}
	images, _ := filepath.Glob("/boot/vmlinuz-*")
	for _, image := range images {
		release := strings.TrimPrefix(image, "/boot/vmlinuz-")
		if _, err := os.Stat("/lib/modules/" + release + "/modules.dep"); err == nil {
			return image, release
		}
	}
	missing(t, "no kernel with modules in /boot")
	return "", ""
}

// modules lists the files to load, in order.
func modules(t *testing.T, release, name string) []string {
	out, err := exec.Command("modprobe", "--show-depends", "-S", release, name).Output()
	if err != nil {
		missing(t, "modprobe: "+err.Error())
	}
	var files []string
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "insmod" {
			files = append(files, f[1])
		}
	}
	return files
}

func buildInit(t *testing.T, dir string) string {
	init := filepath.Join(dir, "init")
	cmd := exec.Command("go", "build", "-o", init, "./testdata/init")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the guest's init: %v\n%s", err, out)
	}
	return init
}

func writeInitramfs(t *testing.T, name, init string, modules []string) {
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	w := cpio.NewWriter(z)
	add := func(name string, mode cpio.FileMode, data []byte) {
		if err := w.WriteHeader(&cpio.Header{Name: name, Mode: mode, Size: int64(len(data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	add("dev", cpio.TypeDir|0o755, nil)
	add("proc", cpio.TypeDir|0o755, nil)
	add("modules", cpio.TypeDir|0o755, nil)
	for i, file := range modules {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		add("modules/"+string(rune('a'+i))+".ko", cpio.TypeReg|0o644, data)
	}
	data, err := os.ReadFile(init)
	if err != nil {
		t.Fatal(err)
	}
	add("init", cpio.TypeReg|0o755, data)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, buf.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}
