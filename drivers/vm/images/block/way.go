package block

import (
	"errors"
	"strings"

	"openshell-vm/drivers/vm/images/erofs"
)

// way is a path that is followed from the tree's root.
type way struct {
	tree *tree
	at   []*node  // the directories on it, from the root on
	left []string // the rest of the path
	hops *int     // how many links may still be followed
}

// astray is the error for links that lead nowhere.
type astray struct{ error }

func (a astray) Unwrap() error { return a.error }

func (t *tree) follow(path []string, hops *int) *way { return &way{t, []*node{t.root}, path, hops} }

// here returns the directory in which the way is.
func (w *way) here() *node { return w.at[len(w.at)-1] }

// next takes the next name from the rest of the path; ok is false at its end.
func (w *way) next() (name string, ok bool, err error) {
	for len(w.left) > 0 {
		if err := w.tree.step(1); err != nil {
			return "", false, err
		}
		name, w.left = w.left[0], w.left[1:]
		if name != ".." {
			return name, true, nil
		}
		w.at = w.at[:max(1, len(w.at)-1)] // only a link's target has it
	}
	return "", false, nil
}

// enter goes on to a directory in the one where the way is.
func (w *way) enter(dir *node) { w.at = append(w.at, dir) }

// through goes on to where a link leads. The error is an astray one if that is nowhere.
func (w *way) through(name string, link *node) error {
	if *w.hops--; *w.hops < 0 {
		return astray{hostile("its links lead in a circle: %q", name)}
	}
	if strings.HasPrefix(link.Target, "/") {
		w.at = w.at[:1]
	}
	w.left = append(targetParts(link.Target), w.left...)
	if err := w.tree.step(len(w.left)); err != nil {
		return err
	}
	if len(w.left) > maxDepth {
		return astray{hostile("a link leads %d directories deep", len(w.left))}
	}
	return nil
}

func targetParts(target string) (parts []string) {
	for part := range strings.SplitSeq(target, "/") {
		if part != "" && part != "." {
			parts = append(parts, part)
		}
	}
	return parts
}

// dir returns the directory of that path, for an entry in it. It makes what is missing.
// hops is how many links may still be followed.
func (t *tree) dir(path []string, hops *int) (*node, error) {
	w := t.follow(path, hops)
	for {
		name, ok, err := w.next()
		if err != nil {
			return nil, err
		}
		if !ok {
			return w.here(), nil
		}
		next := w.here().names[name]
		switch {
		case next != nil && next.Is(erofs.TypeDir):
		case next != nil && next.Is(erofs.TypeSymlink) && next.layer == t.layer:
			if err := w.through(name, next); err != nil {
				return nil, err
			}
			continue
		default:
			if next, err = t.imply(w, name); err != nil {
				return nil, err
			}
		}
		next.layer = t.layer
		w.enter(next)
	}
}

// imply makes a directory that no entry has named.
func (t *tree) imply(w *way, name string) (*node, error) {
	if len(w.at) > maxDepth {
		return nil, hostile("a file lies %d directories deep", len(w.at))
	}
	if strings.HasPrefix(name, whiteout) {
		return nil, hostile("a file lies in %q, which hides something", name)
	}
	t.implied++
	t.impliedNames += len(name)
	dir := t.newDir()
	t.put(w.here(), name, dir)
	return dir, nil
}

// find returns what a hard link names; nil if there is nothing.
func (t *tree) find(path []string) (*node, error) {
	hops := maxHops
	w := t.follow(path, &hops)
	for {
		name, ok, err := w.next()
		if err != nil {
			return nil, err
		}
		if !ok {
			return w.here(), nil
		}
		next := w.here().names[name]
		switch {
		case next == nil:
			return nil, nil
		case next.Is(erofs.TypeSymlink) && len(w.left) > 0: // a link at the end is the link itself
			if err := w.through(name, next); errors.As(err, new(astray)) {
				return nil, nil
			} else if err != nil {
				return nil, err
			}
		default:
			w.enter(next)
		}
	}
}
