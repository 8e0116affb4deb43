package source

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
)

// TestChoose: of several images for this host's architecture the one that runs everywhere
// is taken, and none that this processor can't run.
func TestChoose(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the variants here are those of amd64")
	}
	had := amd64
	defer func() { amd64 = had }()
	amd64 = map[string]bool{"": true, "v1": true, "v2": true}
	for in, want := range map[string]string{
		"amd64/v3 arm64 amd64":    "2",
		"amd64/v3 amd64/v1":       "1",
		"amd64/v3 amd64/v2":       "1",
		"amd64/v2 amd64":          "1",
		"amd64 amd64/v1":          "0",
		"arm64 amd64/v2":          "1",
		"amd64/v3":                "it is for linux/amd64/v3",
		"amd64/v9 arm64":          "it is for linux/amd64/v9, linux/arm64",
		"unknown unknown unknown": "no image",
	} {
		var index v1.IndexManifest
		for i, name := range strings.Fields(in) {
			arch, variant, _ := strings.Cut(name, "/")
			p := &v1.Platform{OS: "linux", Architecture: arch, Variant: variant}
			if arch == "unknown" {
				p.OS = arch
			}
			index.Manifests = append(index.Manifests, v1.Descriptor{Size: int64(i), Platform: p})
		}
		d, err := choose(&index)
		got := fmt.Sprint(d.Size)
		if err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, want) && !strings.Contains(got, "has "+want) {
			t.Errorf("%s: %s", in, got)
		}
	}
}

// TestFIFO: a directory may hold anything. What is no file is not waited for.
func TestFIFO(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "blobs"), 0o700), unix.Mkfifo(filepath.Join(dir, "index.json"), 0o600)); err != nil {
		t.Fatal(err)
	}
	said := make(chan error, 1)
	go func() {
		_, err := Find(t.Context(), Reference{Kind: OCI, Path: dir}, Given{})
		said <- err
	}()
	select {
	case err := <-said:
		if err == nil || !strings.Contains(err.Error(), "no file") {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it waits")
	}
}
