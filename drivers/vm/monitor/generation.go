package monitor

import (
	"os"
	"path/filepath"

	"openshell-vm/share/layout"
)

// Generation is the current one of the share at auth; 0 if there is none.
func Generation(auth string) uint64 {
	target, err := os.Readlink(filepath.Join(auth, layout.Data))
	if err != nil {
		return 0
	}
	n, _ := layout.ParseGeneration(target)
	return n
}
