package roots

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest/content"
	"openshell-vm/drivers/driverstest/fixture"
	"openshell-vm/drivers/driverstest/trees"
)

// oddFiles is how many plain files lie beside the odd ones, unless oddFilesEnv says
// another number. A user's root is listed, and its list carried out, 500 files at a time.
// An emulated guest looks at some tens a second.
const (
	oddFiles    = 600
	oddFilesEnv = "OPENSHELL_ODD_FILES"
)

// OddRoot is the one case of the suite.
func OddRoot(t *testing.T, h fixture.Harness) { OddRootCase(t, fixture.NewSuite(t, h)) }

// OddRootCase wants a sandbox to start with a root of all kinds of files, also of some that
// the driver's user may not read. The sandbox must see of each what that user sees on the
// host. Then the workload changes some. The host's own must stay as they are.
func OddRootCase(t *testing.T, s *fixture.Suite) string {
	b := s.Prepare(t, func(b *fixture.Box) {
		b.Spec.Stdin = false
		b.Shell(strings.Join([]string{
			b.Tool + " tree /odd", `echo changes`, `cd /odd`,
			`echo more >>plain && cat plain`, `chmod 600 setuid && mv hard moved && cat moved`, `rm fifo socket && mkdir fifo`,
			`mv deep shallow && ls -d shallow`, `echo new >"$(printf 'not\377text\n.')" && echo ok`,
			`echo changed >full/file && cat full/file`,
		}, "\n"))
	})
	spec, _, err := b.Driver.Resolve(t.Context(), b.Spec)
	if err != nil {
		t.Fatal(err)
	}
	if spec.Image != "" {
		return fixture.NotApplicable + "its sandboxes come from images"
	}
	files := oddFiles
	if n, err := strconv.Atoi(os.Getenv(oddFilesEnv)); err == nil && n > 0 {
		files = n
	}
	root := filepath.Join(s.Dir, "odd-root")
	trees.Shell(t, root)
	trees.Odd(t, filepath.Join(root, "odd"), files)
	group := filepath.Join(root, "etc/group") // where a reader would wait for ever
	if err := errors.Join(os.Remove(group), unix.Mkfifo(group, 0o644)); err != nil {
		t.Fatal(err)
	}
	want := map[string]content.Seen{}
	content.Tree(filepath.Join(root, "odd"), func(s content.Seen) { want[s.Name] = s })

	spec.VM.Rootfs, spec.Memory = root, max(spec.Memory, int64(files)*4000)
	if err := b.Driver.Create(t.Context(), spec); err != nil {
		t.Fatal(err, drivers.HintOf(err))
	}
	lines, _ := b.Run(false).Rest()
	changes := trees.Compare(t, want, lines)
	if got, want := strings.Join(changes, " "), "plain more content shallow ok changed"; got != want {
		t.Errorf("the changes read %q, not %q", got, want)
	}
	content.Tree(filepath.Join(root, "odd"), func(s content.Seen) {
		if s != want[s.Name] {
			t.Errorf("on the host %s was %+v, and is %+v", s.Name, want[s.Name], s)
		}
	})
	return fmt.Sprintf("%d files", len(want))
}
