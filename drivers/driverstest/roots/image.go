// Package roots has the cases of roots and images as people have them, and as they do not.
package roots

import (
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest/fixture"
	"openshell-vm/drivers/vm/images/imagetest"
)

// imageFiles is how many small files lie in the image beside the odd ones, unless the variable
// says another number.
const (
	imageFiles    = 2000
	imageFilesEnv = "OPENSHELL_IMAGE_FILES"
)

// oddImageSeen is what Docker shows of the image: the witness's word on /odd and /many. With
// OPENSHELL_ODD_IMAGE=FILE a run writes it there.
//
//go:embed testdata/odd-image.golden
var oddImageSeen string

// OddImage is the one case of the suite.
func OddImage(t *testing.T, h fixture.Harness) { OddImageCase(t, fixture.NewSuite(t, h)) }

// OddImageCase: a sandbox shows of an image with files of all kinds exactly what Docker shows.
// What the image says of how to run it is heeded: entry point, command, environment, user
// with his groups, working directory, volumes and stop signal.
func OddImageCase(t *testing.T, s *fixture.Suite) string {
	const tool = "/opt/suite/witness"
	files := imageFiles
	if n, err := strconv.Atoi(os.Getenv(imageFilesEnv)); err == nil && n > 0 {
		files = n
	}
	ref := image(s, t, imagetest.Odd(t, files, tool, "signals"))
	b := s.Box(t, func(b *fixture.Box) {
		b.Spec.Image, b.Spec.VM.Rootfs = ref, ""
		b.Spec.Process = drivers.Process{Env: []string{"BOTH=user"}}
	})
	if b.Tool != tool {
		t.Fatalf("the witness is %s", b.Tool)
	}
	workload := b.Run(false)
	workload.Expect("ready")
	out, _ := b.Exec(drivers.Process{Args: []string{tool, "self"}}, false).Rest()
	for _, want := range []string{"1234 60000 [4321]", "/made/inside <nil>", "FROM_IMAGE=kept", "BOTH=user", "HOME=/home/odd"} {
		if !slices.Contains(out, want) {
			t.Errorf("%q is not among what it has: %q", want, out)
		}
	}
	whole, _ := b.Exec(drivers.Process{Args: []string{tool, "whole", "/odd"}, User: "0"}, false).Rest()
	digest, _ := b.Exec(drivers.Process{Args: []string{tool, "digest", "/many"}, User: "0"}, false).Rest()
	compareImage(s, t, append(whole, digest...), files)
	out, _ = b.Exec(drivers.Process{Args: []string{tool, "digest", "/odd-volume"}, User: "0"}, false).Rest()
	if !strings.HasPrefix(strings.Join(out, " "), "1 ") {
		t.Errorf("its volume: %q", out)
	}
	b.Stop(2 * time.Second)
	if lines, code := workload.Rest(); !slices.Contains(lines, "10") || code != 137 {
		t.Errorf("asked to end it had the signals %q, and ended with %d", lines, code)
	}
	return fmt.Sprintf("%d files", files)
}

// compareImage compares what was seen with what Docker shows.
func compareImage(s *fixture.Suite, t *testing.T, seen []string, files int) {
	t.Helper()
	if file := os.Getenv("OPENSHELL_ODD_IMAGE"); file != "" {
		if err := os.WriteFile(file, []byte(strings.Join(seen, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want := strings.Split(strings.TrimSpace(oddImageSeen), "\n")
	if s.Load != nil && os.Getuid() != 0 && !s.RootIsRoot { // an ordinary user's engine can make no device
		want = slices.DeleteFunc(want, func(line string) bool { return strings.Contains(line, ", device ") })
	}
	if files != imageFiles {
		seen, want = seen[:len(seen)-1], want[:len(want)-1]
	}
	for _, line := range want {
		if !slices.Contains(seen, line) {
			t.Errorf("it does not show\n%s", line)
		}
	}
	for _, line := range seen {
		if !slices.Contains(want, line) {
			t.Errorf("it shows\n%s", line)
		}
	}
}

// image brings an image to where the driver finds it.
func image(s *fixture.Suite, t *testing.T, image v1.Image) (ref string) {
	t.Helper()
	if s.Load == nil {
		return imagetest.Serve(t, nil).Push(image, "suite/odd:1")
	}
	tag, err := name.NewTag("localhost/openshell-suite-odd:" + fixture.NewID())
	if err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(errors.Join(tarball.Write(tag, image, w))) }()
	s.Load(t, tag.String(), r)
	return tag.String()
}
