package block

import (
	"strings"

	"openshell-vm/drivers/vm/images/erofs"
)

// tree is what the layers so far make together.
type tree struct {
	root  *node
	layer int // the number of the layer that is being added, from 1 on
	// implied is how many directories were made that no entry had named, and impliedNames
	// how many bytes their names have.
	implied, impliedNames int
	steps                 int // from a directory to what is in it, of all paths
	// dropped is told of each regular file that has no name any more.
	dropped func(*erofs.Inode)
}

// node is one name. Several may have the same inode.
type node struct {
	*erofs.Inode
	names map[string]*node // of a directory
	layer int              // the last layer that had this name
	bare  int              // the last layer that hid all that was in this directory
	refs  *int             // how many names the inode has
}

func newTree(dropped func(*erofs.Inode)) *tree {
	t := &tree{dropped: dropped}
	t.root = t.newDir()
	return t
}

// newDir makes a directory that no layer has described yet.
func (t *tree) newDir() *node {
	return &node{Inode: &erofs.Inode{Mode: erofs.TypeDir | 0o755}, names: map[string]*node{}, layer: t.layer, refs: new(int)}
}

// clean cuts a name in a layer into its parts. The image's root has none.
func clean(name string) (parts []string, err error) {
	if len(name) >= maxPath {
		return nil, hostile("it has a name of %d bytes", len(name))
	}
	if strings.ContainsRune(name, 0) {
		return nil, hostile("it has a name with a zero byte: %q", name)
	}
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case part == "" || part == ".":
			continue
		case part == "..":
			return nil, hostile("its name %q leads out of it", name)
		case len(part) > erofs.MaxName:
			return nil, hostile("it has a name of %d bytes, more than %d", len(part), erofs.MaxName)
		}
		parts = append(parts, part)
	}
	if len(parts) > maxDepth {
		return nil, hostile("a file lies %d directories deep", len(parts))
	}
	return parts, nil
}

// step counts n steps of a path. Their sum is bounded: an archive can lead each of its
// entries through many links, all of them long.
func (t *tree) step(n int) error {
	if t.steps += n; t.steps > maxSteps {
		return hostile("the image's paths have more than %d steps together", maxSteps)
	}
	return nil
}

// put gives a name to a node, in place of what had the name before.
func (t *tree) put(dir *node, name string, n *node) {
	if old := dir.names[name]; old != nil {
		t.forget(old)
	}
	dir.names[strings.Clone(name)] = n // not a part of something long, which would be kept
	*n.refs++
	n.layer = t.layer
}

// forget drops a name that is taken out of its directory, and all that is below.
func (t *tree) forget(n *node) {
	for _, child := range n.names {
		t.forget(child)
	}
	if *n.refs--; *n.refs == 0 && n.Is(erofs.TypeRegular) {
		t.dropped(n.Inode)
	}
}

// hide removes what a directory has of earlier layers. What the layer itself has put there
// stays, whether it came before or comes after the whiteout.
func (t *tree) hide(dir *node) {
	if dir.bare == t.layer { // what came since is the layer's own
		return
	}
	dir.bare = t.layer
	for name := range dir.names {
		t.hideName(dir, name)
	}
}

func (t *tree) hideName(dir *node, name string) {
	n := dir.names[name]
	switch {
	case n == nil:
	case n.layer < t.layer:
		delete(dir.names, name)
		t.forget(n)
	case n.Is(erofs.TypeDir):
		t.hide(n)
	}
}

// finish makes the inodes' own tree.
func (t *tree) finish(n *node) *erofs.Inode {
	if n.Is(erofs.TypeDir) {
		n.Entries = make(map[string]*erofs.Inode, len(n.names))
		for name, child := range n.names {
			n.Entries[name] = t.finish(child)
		}
	}
	return n.Inode
}
