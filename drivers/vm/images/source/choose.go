package source

import (
	"errors"
	"runtime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/cpu"
)

// choose takes the manifest for this host out of an index. Of several for its architecture
// it takes the one for all of its processors, else the first that this one can run.
func choose(index *v1.IndexManifest) (v1.Descriptor, error) {
	want := v1.Platform{OS: "linux", Architecture: runtime.GOARCH}
	best, level := v1.Descriptor{}, 0
	var others []string
	for _, d := range index.Manifests {
		switch {
		case d.Platform == nil && len(index.Manifests) == 1:
			return d, nil
		case d.Platform == nil:
		case d.Platform.Satisfies(want) && runs(d.Platform.Variant):
			if l := variant(d.Platform.Variant); level == 0 || l < level {
				best, level = d, l
			}
		case d.Platform.OS != "unknown":
			others = append(others, d.Platform.String())
		}
	}
	if level > 0 {
		return best, nil
	}
	if len(others) == 0 {
		return v1.Descriptor{}, errors.New("its index has no image")
	}
	return v1.Descriptor{}, wrongPlatform(strings.Join(others, ", "))
}

// variant orders the variants of an architecture, from 1 on: what runs everywhere first.
func variant(name string) int {
	switch {
	case name == "" || runtime.GOARCH == "amd64" && name == "v1" || runtime.GOARCH == "arm64" && name == "v8":
		return 1
	case name == "v2":
		return 2
	case name == "v3":
		return 3
	}
	return 4
}

// amd64 are what the variants of that architecture need.
var amd64 = map[string]bool{
	"": true, "v1": true, "v2": level2, "v3": level2 && level3, "v4": level2 && level3 && level4,
}

var (
	level2 = cpu.X86.HasCX16 && cpu.X86.HasPOPCNT && cpu.X86.HasSSE3 && cpu.X86.HasSSSE3 && cpu.X86.HasSSE41 && cpu.X86.HasSSE42
	level3 = cpu.X86.HasAVX && cpu.X86.HasAVX2 && cpu.X86.HasBMI1 && cpu.X86.HasBMI2 && cpu.X86.HasFMA && cpu.X86.HasOSXSAVE
	level4 = cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512CD && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512VL
)

// runs reports whether this processor runs a variant of its architecture. Of other
// architectures than amd64 it is not known, and tried.
func runs(variant string) bool { return runtime.GOARCH != "amd64" || amd64[variant] }
