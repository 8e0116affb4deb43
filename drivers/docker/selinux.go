package docker

import (
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/opencontainers/selinux/go-selinux"
)

// label gives a share, and all that is in it, a label that every container may read.
// What is made in it later inherits the label.
func label(share string) error {
	if !selinux.GetEnabled() {
		return nil
	}
	_, file := selinux.ContainerLabels()
	context, err := selinux.NewContext(file)
	if err != nil {
		return fmt.Errorf("SELinux: %w", err)
	}
	context["level"] = "s0" // shared: no category of one container's
	return filepath.WalkDir(share, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return selinux.LsetFileLabel(path, context.Get())
	})
}
