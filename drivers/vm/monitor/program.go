package monitor

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// program is one process of the VM, to be run in a jail of its own.
type program struct {
	name    string // for people: "qemu"
	path    string // on the host
	args    []string
	binds   []bind     // what it sees beside the system's libraries
	devices []string   // device nodes that it may open
	files   []*os.File // inherited, from descriptor 3 on
}

// bind is a host path that the program sees: read-only with all that is
// mounted below it, unless writable.
type bind struct {
	source, target string
	writable       bool
	masks          []string // relative paths under target, covered by empty directories
}

// INTERIM
func (m *monitor) run(p program) error {
	var sh strings.Builder
	fmt.Fprintf(&sh, "set -e\nr=$(mktemp -d)\nmount -t tmpfs none $r\n")
	for _, d := range []string{"/usr", "/lib", "/lib64", "/bin", "/etc", "/proc", "/dev"} {
		fmt.Fprintf(&sh, "mkdir -p $r%s; mount --rbind %s $r%s\n", d, d, d)
	}
	for _, b := range p.binds {
		fmt.Fprintf(&sh, "if [ -d %[1]s ]; then mkdir -p $r%[2]s; else mkdir -p $(dirname $r%[2]s); : > $r%[2]s; fi; mount --rbind %[1]s $r%[2]s\n", b.source, b.target)
		if !b.writable {
			fmt.Fprintf(&sh, "mount -o remount,bind,ro $r%s\n", b.target)
		}
	}
	fmt.Fprintf(&sh, "exec chroot $r \"$0\" \"$@\"\n")
	cmd := exec.Command("unshare", append([]string{"-m", "sh", "-c", sh.String(), p.path}, p.args...)...)
	cmd.ExtraFiles = p.files
	cmd.Stdout, cmd.Stderr = m.tools, m.tools
	return m.group.run(p.name, cmd)
}
