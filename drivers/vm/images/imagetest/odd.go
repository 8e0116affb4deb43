package imagetest

import (
	"archive/tar"
	"fmt"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// FileCapability is cap_net_raw+ep, as the kernel keeps it in security.capability.
const FileCapability = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// Odd makes an image of several layers with all that an image can hold, below /odd. many
// small files lie in /many. program is what it runs, with the argument arg; it must be
// mounted.
func Odd(tb testing.TB, many int, program, arg string) v1.Image {
	tb.Helper()
	return Image(tb, v1.Config{
		Entrypoint: []string{program}, Cmd: []string{arg}, Env: []string{"FROM_IMAGE=kept", "BOTH=image"}, User: "odd",
		WorkingDir: "/made/inside", StopSignal: "SIGUSR1", Volumes: map[string]struct{}{"/odd-volume": {}},
		ExposedPorts: map[string]struct{}{"8080/tcp": {}},
	}, lowest(tb), middle(tb), highest(tb, many))
}

// changed is a time with nanoseconds.
var changed = time.Date(2001, 2, 3, 4, 5, 6, 789_000_001, time.UTC)

// odd completes the header of an odd file.
func odd(h tar.Header) tar.Header {
	h.Name, h.ModTime, h.Format = "odd/"+h.Name, changed, tar.FormatPAX
	return h
}

func attrs(pairs ...string) map[string]string {
	records := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		records["SCHILY.xattr."+pairs[i]] = pairs[i+1]
	}
	return records
}

func lowest(tb testing.TB) *Layer {
	l := NewLayer(tb).Dir("etc").
		File("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nodd:x:1234:60000:odd:/home/odd:/bin/sh\n").
		File("etc/group", "root:x:0:\nodd:x:60000:\nextra:x:4321:odd\n").
		Dir("tmp").Dir("opt")
	add := func(h tar.Header, data string) { l.Add(odd(h), data) }
	dir := func(name string, mode int64) { add(tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: mode}, "") }
	dir("", 0o755)
	add(tar.Header{Name: "owned", Mode: 0o640, Uid: 1234, Gid: 60000}, "owned")
	add(tar.Header{Name: "setuid", Mode: 0o6755, Uid: 1234}, "#!/bin/sh\n")
	add(tar.Header{Name: "capable", Mode: 0o755, PAXRecords: attrs("security.capability", FileCapability)}, "program")
	add(tar.Header{Name: "noted", PAXRecords: attrs("user.note", "kept", "user.second", "\x00\xff")}, "noted")
	dir("sticky", 0o1777)
	dir("setgid", 0o2755)
	add(tar.Header{Name: "empty"}, "")
	add(tar.Header{Name: "inline"}, strings.Repeat("i", 700))
	add(tar.Header{Name: "block"}, strings.Repeat("b", 4096))
	add(tar.Header{Name: "tail"}, strings.Repeat("t", 9000))
	add(tar.Header{Name: "large"}, noise(3<<20))
	add(tar.Header{Name: "sparse"}, "begin"+strings.Repeat("\x00", 16<<20)+"end")
	add(tar.Header{Name: strings.Repeat("n", 255)}, "long")
	add(tar.Header{Name: "\"quoted\"\\ $(name)\n\x1b[2J"}, "name")
	deep := "deep"
	for range 3 {
		dir(deep, 0o755)
		deep += "/" + strings.Repeat("d", 90)
	}
	dir(deep, 0o700)
	add(tar.Header{Name: deep + "/file", Mode: 0o600}, "deep")
	add(tar.Header{Name: "absolute", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd", Mode: 0o777}, "")
	add(tar.Header{Name: "dangling", Typeflag: tar.TypeSymlink, Linkname: "no/where", Mode: 0o777, Uid: 1234}, "")
	add(tar.Header{Name: "far", Typeflag: tar.TypeSymlink, Linkname: strings.Repeat("/x", 2000), Mode: 0o777}, "")
	add(tar.Header{Name: "several"}, "content\n")
	add(tar.Header{Name: "hard", Typeflag: tar.TypeLink, Linkname: "odd/several"}, "")
	add(tar.Header{Name: "setgid/hard", Typeflag: tar.TypeLink, Linkname: "odd/hard"}, "")
	add(tar.Header{Name: "fifo", Typeflag: tar.TypeFifo, Mode: 0o640}, "")
	add(tar.Header{Name: "null", Typeflag: tar.TypeChar, Mode: 0o666, Devmajor: 1, Devminor: 3}, "")
	add(tar.Header{Name: "disk", Typeflag: tar.TypeBlock, Mode: 0o660, Gid: 6, Devmajor: 259, Devminor: 300}, "")
	for _, name := range []string{"opaque", "opaque/sub", "kept", "gone-dir", "gone-dir/sub", "turned"} {
		dir(name, 0o755)
	}
	for _, name := range []string{
		"gone", "back", "replaced", "only-below", "opaque/old", "opaque/sub/old", "kept/one", "kept/two", "gone-dir/sub/x", "turned/x",
	} {
		add(tar.Header{Name: name}, "below: "+name)
	}
	return l
}

func middle(tb testing.TB) *Layer {
	l := NewLayer(tb)
	add := func(h tar.Header, data string) { l.Add(odd(h), data) }
	dir := func(name string, mode int64) { add(tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: mode}, "") }
	dir("", 0o755)
	for _, hidden := range []string{".wh.gone", ".wh.back", ".wh.gone-dir", "kept/.wh.one"} {
		add(tar.Header{Name: hidden}, "")
	}
	dir("opaque", 0o750)
	add(tar.Header{Name: "opaque/new"}, "above")
	add(tar.Header{Name: "opaque/.wh..wh..opq"}, "")
	add(tar.Header{Name: "kept", Typeflag: tar.TypeDir, Mode: 0o711, Uid: 5, Gid: 6}, "")
	dir("replaced", 0o755)
	add(tar.Header{Name: "replaced/inside"}, "a directory now")
	add(tar.Header{Name: "turned"}, "a file now")
	add(tar.Header{Name: "middle"}, "gone in the end")
	return l
}

func highest(tb testing.TB, many int) *Layer {
	l := NewLayer(tb)
	add := func(h tar.Header, data string) { l.Add(odd(h), data) }
	add(tar.Header{Name: "", Typeflag: tar.TypeDir, Mode: 0o755}, "")
	add(tar.Header{Name: "back"}, "here again")
	add(tar.Header{Name: ".wh.middle"}, "")
	l.Dir("many")
	for i := range many {
		if i%500 == 0 {
			l.Dir(fmt.Sprintf("many/%d", i/500))
		}
		l.File(fmt.Sprintf("many/%d/file-%d", i/500, i), fmt.Sprintln("file", i))
	}
	return l
}

// noise is text that can't be compressed well, and is always the same.
func noise(n int) string {
	b, x := make([]byte, n), uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return string(b)
}
