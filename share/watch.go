package share

import (
	"context"
	"iter"

	"openshell-vm/share/watch"
)

// Watch yields each generation of a share's auth directory after from as it becomes current, on the
// host or inside a sandbox; see [watch.Generations] for when, and for errors. Read gives its files:
//
//	for generation, err := range share.Watch(ctx, "/etc/openshell/auth", 0) { … }
func Watch(ctx context.Context, authDir string, from uint64) iter.Seq2[uint64, error] {
	return watch.Generations(ctx, authDir, from)
}
