package monitor

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Generation is the current one of the share at auth, by the names that package
// share writes; 0 if there is none.
func Generation(auth string) uint64 {
	target, err := os.Readlink(filepath.Join(auth, "..data"))
	if err != nil {
		return 0
	}
	digits, _ := strings.CutPrefix(target, "..gen-")
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
