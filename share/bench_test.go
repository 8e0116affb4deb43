package share

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// place is a file system to measure on.
type place struct {
	name    string // what it is for, and the type that statfs tells
	dir     string
	durable bool
}

// places returns tmpfs and the disk, the disk with and without fsync.
func places(b *testing.B) []place {
	disk := os.Getenv("SHARE_BENCH_DISK")
	if disk == "" {
		disk = "/var/tmp"
	}
	shm := b.TempDir() // where there is no tmpfs, the type in the name says so
	if made, err := os.MkdirTemp("/dev/shm", "share-bench-"); err == nil {
		b.Cleanup(func() { os.RemoveAll(made) })
		shm = made
	}
	onDisk, err := os.MkdirTemp(disk, "share-bench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(onDisk) })
	return []place{
		{"memory=" + fsType(b, shm), shm, false},
		{"disk=" + fsType(b, onDisk), onDisk, false},
		{"fsync=" + fsType(b, onDisk), onDisk, true},
	}
}

func fsType(tb testing.TB, dir string) string {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		tb.Fatal(err)
	}
	known := map[int64]string{
		unix.TMPFS_MAGIC: "tmpfs", unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs",
		unix.BTRFS_SUPER_MAGIC: "btrfs", unix.OVERLAYFS_SUPER_MAGIC: "overlay",
	}
	if name := known[int64(st.Type)]; name != "" {
		return name
	}
	return fmt.Sprintf("%#x", st.Type)
}

// benchFiles are what the gateway publishes: a token and its description, in two
// contents that take turns, so that each publish is a change.
var benchFiles = [2][]File{
	{{Name: "sandbox.jwt", Data: bytes.Repeat([]byte("a"), 700)}, {Name: "metadata.json", Data: bytes.Repeat([]byte("a"), 200)}},
	{{Name: "sandbox.jwt", Data: bytes.Repeat([]byte("b"), 700)}, {Name: "metadata.json", Data: bytes.Repeat([]byte("b"), 200)}},
}

// publisher returns a function that publishes one new generation. Grace is so
// short that each call prunes one: the steady state of a share.
func publisher(b *testing.B, p place) func([]File) {
	s, err := Create(filepath.Join(p.dir, "share"), Options{Durable: p.durable, Grace: time.Nanosecond})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Remove(b.Context()) })
	ctx := b.Context()
	return func(files []File) {
		got, err := s.Publish(ctx, 0, func(uint64) ([]File, error) { return files, nil })
		if err != nil || !got.Changed {
			b.Fatal(got, err)
		}
	}
}

// plainWriter returns the baseline, a writer without this package: it writes each file
// under a temporary name and renames it.
func plainWriter(b *testing.B, p place) func([]File) {
	dir := filepath.Join(p.dir, "plain")
	if err := os.Mkdir(dir, 0o700); err != nil && !os.IsExist(err) {
		b.Fatal(err)
	}
	write := os.WriteFile
	if p.durable {
		write = writeSynced
	}
	return func(files []File) {
		for _, f := range files {
			name := dir + "/" + f.Name
			temp := name + ".tmp"
			if err := write(temp, f.Data, 0o444); err != nil {
				b.Fatal(err)
			}
			if err := os.Rename(temp, name); err != nil {
				b.Fatal(err)
			}
		}
		if p.durable {
			syncDir(b, dir)
		}
	}
}

func writeSynced(name string, data []byte, mode os.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Sync()
}

func syncDir(b *testing.B, dir string) {
	d, err := os.Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkPublish(b *testing.B)  { benchEach(b, publisher) }
func BenchmarkBaseline(b *testing.B) { benchEach(b, plainWriter) }

func benchEach(b *testing.B, writer func(*testing.B, place) func([]File)) {
	for _, p := range places(b) {
		b.Run(p.name, func(b *testing.B) {
			write := writer(b, p)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				write(benchFiles[i%2])
			}
		})
	}
}

// BenchmarkRatio alternates publisher and plainWriter, so that other load slows both
// alike. It reports medians: "x-baseline" is the number in the project's goals (at most
// 7 in memory, at most 4 on disk without fsync).
func BenchmarkRatio(b *testing.B) {
	for _, p := range places(b) {
		b.Run(p.name, func(b *testing.B) {
			publish, plain := publisher(b, p), plainWriter(b, p)
			var published, written []time.Duration
			for i := 0; b.Loop(); i++ {
				files := benchFiles[i%2]
				published = append(published, timed(publish, files))
				written = append(written, timed(plain, files))
			}
			ours, theirs := median(published), median(written)
			b.ReportMetric(0, "ns/op") // of the pair: means nothing
			b.ReportMetric(float64(ours.Nanoseconds())/1e3, "publish-µs")
			b.ReportMetric(float64(theirs.Nanoseconds())/1e3, "baseline-µs")
			b.ReportMetric(float64(ours)/float64(theirs), "x-baseline")
		})
	}
}

func timed(f func([]File), files []File) time.Duration {
	start := time.Now()
	f(files)
	return time.Since(start)
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}
