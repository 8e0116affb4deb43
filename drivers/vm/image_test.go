package vm

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest"
	"openshell-vm/drivers/vm/guest"
	"openshell-vm/drivers/vm/images"
	"openshell-vm/drivers/vm/images/imagetest"
	"openshell-vm/drivers/vm/images/library"
	"openshell-vm/internal/vocab"
)

// playImage makes this test binary openshell-image.
const playImage = "PLAY_OPENSHELL_IMAGE"

func TestMain(m *testing.M) {
	if os.Getenv(playImage) == "" {
		os.Exit(m.Run())
	}
	var q images.Request
	out := json.NewEncoder(os.Stdout)
	if err := json.NewDecoder(os.Stdin).Decode(&q); err != nil {
		os.Exit(2)
	}
	image, err := images.Pull(context.Background(), q, os.Getenv, func(p vocab.PullProgress) {})
	if err != nil {
		_ = out.Encode(images.Report{Problem: &images.Problem{Message: err.Error(), Hint: "a hint"}})
		return
	}
	_ = out.Encode(images.Report{Image: &image, Block: image.Block})
}

// imageDriver is a driver that can pull images, and start nothing.
func imageDriver(t *testing.T) *Driver {
	t.Helper()
	d := emptyDriver(t)
	self, err := os.Executable()
	if err == nil {
		err = os.MkdirAll(d.cfg.Libexec, 0o700)
	}
	if err == nil {
		err = os.Symlink(self, d.host.Program(images.Program))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(playImage, "1")
	return d
}

// boxOf creates a sandbox of an image.
func boxOf(t *testing.T, d *Driver, id, image string) drivers.Spec {
	t.Helper()
	spec := drivers.Spec{ID: id, Dir: d.dir(id), Image: image, VM: drivers.VM{Disk: 64 << 20}}
	if err := d.Create(t.Context(), spec); err != nil {
		t.Fatal(err, drivers.HintOf(err))
	}
	return spec
}

func imageWith(t *testing.T, text string) v1.Image {
	return imagetest.Image(t, v1.Config{Cmd: []string{"run", text}, StopSignal: "SIGQUIT", Volumes: map[string]struct{}{"/v": {}}},
		imagetest.NewLayer(t).Add(tar.Header{Name: "text"}, text+strings.Repeat(".", 4<<20)))
}

// TestSandboxKeepsItsImage: a newer image of the same name changes nothing for a sandbox,
// not even if the cache was emptied meanwhile.
func TestSandboxKeepsItsImage(t *testing.T) {
	d, registry := imageDriver(t), imagetest.Serve(t, nil)
	ref := registry.Push(imageWith(t, "old"), "suite/app:1")
	spec := boxOf(t, d, "aaaaaaaaaaaa", ref)
	registry.Push(imageWith(t, "new"), "suite/app:1")
	if err := d.Pull(t.Context(), drivers.PullRequest{Image: ref}, nil); err != nil {
		t.Fatal(err)
	}
	of := func(spec drivers.Spec) (id, block, arg string) {
		t.Helper()
		kept, block, err := d.images.Take(t.Context(), spec, spec.Dir)
		if err != nil {
			t.Fatal(err, drivers.HintOf(err))
		}
		p, err := kept.Process(spec)
		if err != nil {
			t.Fatal(err)
		}
		return kept.ID, block, p.Args[1]
	}
	id, block, arg := of(spec)
	if arg != "old" {
		t.Errorf("it runs %s", arg)
	}
	if err := d.Pull(t.Context(), drivers.PullRequest{Image: ref, Policy: drivers.PullAlways}, nil); err != nil {
		t.Fatal(err)
	}
	later := boxOf(t, d, "bbbbbbbbbbbb", ref)
	if newID, newBlock, arg := of(later); newID == id || newBlock == block || arg != "new" {
		t.Errorf("a later sandbox has %s, %s, %s", newID, newBlock, arg)
	}
	if sameID, sameBlock, arg := of(spec); sameID != id || sameBlock != block || arg != "old" {
		t.Errorf("after a pull it has %s, %s, %s", sameID, sameBlock, arg)
	}
	if err := os.RemoveAll(d.cfg.CacheDir); err != nil {
		t.Fatal(err)
	}
	if sameID, sameBlock, arg := of(spec); sameID != id || sameBlock != block || arg != "old" {
		t.Errorf("with an empty cache it has %s, %s, %s", sameID, sameBlock, arg)
	}
	status, err := d.Inspect(t.Context(), spec.ID)
	if err != nil || !slices.Contains(status.Details, drivers.Fact{Name: "image ID", Value: id}) {
		t.Errorf("inspect shows %+v, %v", status.Details, err)
	}
	boot := guest.BootSpec{}
	kept, err := library.Read(spec.Dir)
	kept.Complete(&boot)
	if err != nil || !boot.Image || boot.StopSignal != 3 || !slices.Equal(boot.Dirs, []string{"/v"}) {
		t.Errorf("%+v, %v", boot, err)
	}
}

// TestImagesInUse: an image of which a sandbox was made is neither removed nor pruned.
func TestImagesInUse(t *testing.T) {
	d, registry := imageDriver(t), imagetest.Serve(t, nil)
	used, unused := registry.Push(imageWith(t, "used"), "suite/used:1"), registry.Push(imageWith(t, "unused"), "suite/unused:1")
	spec := boxOf(t, d, "aaaaaaaaaaaa", used)
	if err := d.Pull(t.Context(), drivers.PullRequest{Image: unused}, nil); err != nil {
		t.Fatal(err)
	}
	_, err := d.RemoveImage(t.Context(), used)
	if !errors.Is(err, drivers.ErrImageInUse) || !strings.Contains(err.Error(), spec.ID) {
		t.Errorf("%v", err)
	}
	freed, err := d.PruneImages(t.Context(), true)
	if err != nil || !slices.Equal(freed.Images, []string{unused}) || freed.Bytes < 4<<20 {
		t.Errorf("%+v, %v", freed, err)
	}
	list, err := d.Images(t.Context())
	if err != nil || len(list) != 1 || !slices.Equal(list[0].Names, []string{used}) || !slices.Equal(list[0].Sandboxes, []string{spec.ID}) {
		t.Errorf("%+v, %v", list, err)
	}
	if image, err := d.Image(t.Context(), strings.TrimPrefix(list[0].ID, "sha256:")[:12]); err != nil || image.ID != list[0].ID {
		t.Errorf("%+v, %v", image, err)
	}
	if err := d.Pull(t.Context(), drivers.PullRequest{Image: unused, Policy: drivers.PullNever}, nil); err == nil {
		t.Error("what is not here was found")
	} else {
		driverstest.Refused(t, err, "it is not to be fetched")
	}
	if err := errors.Join(d.Remove(t.Context(), spec.ID), d.Pull(t.Context(), drivers.PullRequest{Image: used, Policy: drivers.PullNever}, nil)); err != nil {
		t.Error(err)
	}
	if freed, err := d.RemoveImage(t.Context(), used); err != nil || !slices.Equal(freed.Images, []string{used}) {
		t.Errorf("%+v, %v", freed, err)
	}
	if _, err := d.RemoveImage(t.Context(), used); !errors.Is(err, drivers.ErrNoSuchImage) {
		t.Errorf("%v", err)
	}
}

// TestSecondSandboxTakesNoRoom: what a further sandbox of an image takes of the disk is
// little, and the same however large the image is.
func TestSecondSandboxTakesNoRoom(t *testing.T) {
	d, registry := imageDriver(t), imagetest.Serve(t, nil)
	ref := registry.Push(imageWith(t, "large"), "suite/large:1")
	boxOf(t, d, "aaaaaaaaaaaa", ref)
	before := diskUsage(t, d)
	boxOf(t, d, "bbbbbbbbbbbb", ref)
	if extra := diskUsage(t, d) - before; extra >= 2<<20 {
		t.Errorf("the second one takes %d bytes", extra)
	} else {
		t.Logf("the second one takes %d bytes", extra)
	}
}

func diskUsage(t *testing.T, d *Driver) int64 {
	t.Helper()
	n, err := diskUsed(d.cfg.CacheDir, d.cfg.SandboxesDir)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// diskUsed is what directories take of the disk, in bytes.
func diskUsed(dirs ...string) (bytes int64, err error) {
	for _, dir := range dirs {
		err = errors.Join(err, filepath.WalkDir(dir, func(_ string, e os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := e.Info()
			if err == nil {
				bytes += info.Sys().(*syscall.Stat_t).Blocks * 512
			}
			return err
		}))
	}
	return bytes, err
}

// TestImageWithoutCommand is refused before anything is made.
func TestImageWithoutCommand(t *testing.T) {
	d, registry := imageDriver(t), imagetest.Serve(t, nil)
	ref := registry.Push(imagetest.Image(t, v1.Config{}, imagetest.NewLayer(t).File("a", "")), "suite/none:1")
	err := d.images.Check(t.Context(), drivers.Spec{Image: ref})
	driverstest.Refused(t, err, "it has no command, and none is given")
	if err := d.images.Check(t.Context(), drivers.Spec{Image: ref, Process: drivers.Process{Args: []string{"sh"}}}); err != nil {
		t.Error(err)
	}
}

// TestFilesAreLookedAt: a file or directory that was not changed is not read again; one that was
// is.
func TestFilesAreLookedAt(t *testing.T) {
	d, file := imageDriver(t), filepath.Join(t.TempDir(), "saved.tar")
	tag, err := name.NewTag("suite/app:1")
	if err == nil {
		err = tarball.WriteToFile(file, tag, imageWith(t, "old"))
	}
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond) // the file's time is as coarse as the kernel's tick
	ref := "docker-archive:" + file
	pulled := func() (id string, err error) {
		if err := d.Pull(t.Context(), drivers.PullRequest{Image: ref}, nil); err != nil {
			return "", err
		}
		image, err := d.Image(t.Context(), ref)
		return image.ID, err
	}
	first, err := pulled()
	if err != nil {
		t.Fatal(err)
	}
	program := d.host.Program(images.Program)
	if err := os.Rename(program, program+".away"); err != nil {
		t.Fatal(err)
	}
	if again, err := pulled(); err != nil || again != first {
		t.Errorf("%v, %v", again, err)
	}
	if err := errors.Join(os.Rename(program+".away", program), tarball.WriteToFile(file, tag, imageWith(t, "new"))); err != nil {
		t.Fatal(err)
	}
	if again, err := pulled(); err != nil || again == first {
		t.Errorf("a changed file is %v, %v", again, err)
	}
}
