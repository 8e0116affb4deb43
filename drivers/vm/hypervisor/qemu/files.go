package qemu

import (
	"path/filepath"
)

// Files finds what QEMU loads by name, beside the libraries that it is linked with: the
// module with TCG, if the distribution makes that a module, and the directories with
// firmware. program must have no symlink in it.
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
	if err != nil { // the prefix has brackets in it
		return nil
	}
	return found
}
