package qemu

import (
	"path/filepath"
)

// Files finds what QEMU loads by name, beside what it is linked with: the
// module that has TCG, where a distribution builds it as one, and the
// directories with firmware. program has no symlink in it.
func Files(program string) (plugins, data []string) {
	prefix := filepath.Dir(filepath.Dir(program))
	for _, dir := range []string{"lib/*/qemu", "lib64/qemu", "lib/qemu"} {
		plugins = append(plugins, existing(prefix, dir, "accel-*.so")...)
	}
	for _, dir := range []string{"share/qemu", "share/seabios", "share/qemu-kvm", "share/edk2"} {
		data = append(data, existing(prefix, dir)...)
	}
	return plugins, data
}

func existing(path ...string) []string {
	found, err := filepath.Glob(filepath.Join(path...))
	if err != nil { // a prefix with brackets in it
		return nil
	}
	return found
}
