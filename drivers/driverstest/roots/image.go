// Package roots has the cases of roots and images as people have them, and as they do not.
package roots

import (
	_ "embed"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest/fixture"
	"openshell-vm/drivers/driverstest/testhost"
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
	files := fixture.NumberFrom(imageFilesEnv, imageFiles)
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
	compareImage(s, t, whole, digest, files)
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
func compareImage(s *fixture.Suite, t *testing.T, seen, digest []string, files int) {
	t.Helper()
	// 500 of them lie in a directory, and these in another.
	if last := strings.Join(digest[max(0, len(digest)-1):], ""); !strings.HasPrefix(last, fmt.Sprint(files+(files+499)/500+1, " ")) {
		t.Errorf("of %d files it shows %q", files, last)
	}
	if file := os.Getenv("OPENSHELL_ODD_IMAGE"); file != "" {
		if err := os.WriteFile(file, []byte(strings.Join(append(seen, digest...), "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want := strings.Split(strings.TrimSpace(oddImageSeen), "\n")
	if s.Unload != nil && os.Getuid() != 0 && !s.RootIsRoot { // an ordinary user's engine can make no device
		want = slices.DeleteFunc(want, func(line string) bool { return strings.Contains(line, ", device ") })
	}
	if files == imageFiles {
		seen = append(seen, digest...)
	} else {
		want = want[:len(want)-1]
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

// enginePort is where an engine's network has the registry. scripts/engines tells Podman that
// this one needs no TLS.
const enginePort = "127.0.0.1:5000"

// image puts an image into a registry on the loopback where the driver looks for it: this
// host's, or that of the engine's own network.
func image(s *fixture.Suite, t *testing.T, image v1.Image) (ref string) {
	t.Helper()
	registry := imagetest.Serve(t, nil)
	ref = registry.Push(image, "suite/odd:"+fixture.NewID())
	if s.Unload == nil {
		return ref
	}
	if s.Netns == nil {
		t.Fatal("the engine's network can't be entered")
	}
	var listener net.Listener
	s.Eventually(t, func() error { // another test of this engine may have the port
		return testhost.InNetns(s.Netns(), func() (err error) {
			listener, err = net.Listen("tcp", enginePort)
			return err
		})
	})
	registry.On(listener)
	ref = enginePort + strings.TrimPrefix(ref, registry.Host)
	t.Cleanup(func() { s.Unload(t, ref) })
	return ref
}
