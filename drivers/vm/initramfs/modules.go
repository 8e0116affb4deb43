package initramfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// need is something that a guest can't do without. One of the modules provides it.
type need struct {
	what    string
	modules []string
}

// needs is what the guest init relies on, in load order.
var needs = []need{
	{"virtio devices", []string{"virtio_pci"}},
	{"virtio-console", []string{"virtio_console"}},
	{"virtio-fs", []string{"virtiofs"}},
	{"virtio-blk", []string{"virtio_blk"}},
	{"overlay", []string{"overlay"}},
	{"ext4", []string{"ext4"}},
}

// extras are loaded if they are there as modules. ext4 asks a user-mode helper to load
// crc32c, and a guest without modprobe has no such helper. Only a guest that runs an image
// needs erofs.
var extras = []string{"crc32c_generic", "crc32c_cryptoapi", "erofs", "virtio_rng", "virtio_net"}

// loadOrder lists the module files below dir that a guest needs, relative to dir. Each
// module comes after those that it depends on. What is built into the kernel is left out.
// An empty dir is an error: nothing is known of that kernel then, and a guest without its
// file system would hang at boot.
func loadOrder(dir string) ([]string, error) {
	if dir == "" {
		return nil, errors.New("its modules are not installed")
	}
	deps, err := readDeps(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return nil, err
	}
	builtin, err := readBuiltin(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return nil, err
	}
	o := &orderer{deps: deps, byName: map[string]string{}}
	for file := range deps {
		o.byName[moduleName(file)] = file
	}
	for _, name := range slices.Sorted(slices.Values(extras)) {
		o.add(name)
	}
	for _, n := range needs {
		found := false
		for _, name := range n.modules {
			found = o.add(name) || builtin[name] || found
		}
		if !found {
			return nil, fmt.Errorf("it has no %s", n.what)
		}
	}
	return o.order, nil
}

// orderer walks the dependency graph depth first.
type orderer struct {
	deps   map[string][]string // file → files that it needs
	byName map[string]string   // module → file
	seen   map[string]bool
	order  []string
}

// add appends a module after those that it needs. It returns false if there is no such
// module.
func (o *orderer) add(name string) bool {
	file, ok := o.byName[name]
	if ok {
		o.visit(file)
	}
	return ok
}

func (o *orderer) visit(file string) {
	if o.seen[file] {
		return
	}
	if o.seen == nil {
		o.seen = map[string]bool{}
	}
	o.seen[file] = true
	// A line of modules.dep names the whole closure. Modules that others in the line need
	// come last, so backwards it is nearly the load order.
	for _, dep := range slices.Backward(o.deps[file]) {
		o.visit(dep)
	}
	o.order = append(o.order, file)
}

// readDeps reads lines of the form "a.ko: b.ko c.ko".
func readDeps(file string) (map[string][]string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	deps := map[string][]string{}
	for line := range strings.Lines(string(data)) {
		module, rest, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("%s: a line without a colon: %q", file, line)
		}
		deps[module] = strings.Fields(rest)
	}
	return deps, nil
}

// readBuiltin reads the names of the modules that are built in. A missing list is empty.
func readBuiltin(file string) (map[string]bool, error) {
	data, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	names := map[string]bool{}
	for line := range strings.Lines(string(data)) {
		names[moduleName(strings.TrimSpace(line))] = true
	}
	return names, nil
}

// moduleName returns the kernel's name for a module file.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".")
	return strings.ReplaceAll(name, "-", "_")
}
