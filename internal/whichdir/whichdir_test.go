package whichdir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/internal/inode"
	"openshell-vm/internal/whichdir/deadfs"
)

// TestAnswers: what is there, what is not, and links.
func TestAnswers(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	want, err := inode.Of(dir)
	if err != nil {
		t.Fatal(err)
	}
	var a Asker
	got := a.Ask(dir, link, filepath.Join(dir, "none"))
	if got[0].ID != want || got[1].ID != want || !errors.Is(got[2].Err, fs.ErrNotExist) {
		t.Errorf("%+v", got)
	}
	if at, err := filepath.EvalSymlinks(dir); err != nil || DeviceAt(at) != Device(want) {
		t.Errorf("%s by the kernel's table, %s by its file system: %v", DeviceAt(at), Device(want), err)
	}
}

// TestHangs: a file system that does not answer is named, by whatever path; what lies elsewhere is
// told at once; and it is asked again once it answers.
func TestHangs(t *testing.T) {
	dir := t.TempDir()
	dead, good, link := filepath.Join(dir, "dead"), filepath.Join(dir, "good"), filepath.Join(dir, "link")
	for _, name := range []string{dead, good} {
		if err := os.Mkdir(name, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("dead/below", link); err != nil {
		t.Fatal(err)
	}
	end := deadfs.Mount(t, dead)
	a := Asker{Deadline: 200 * time.Millisecond}
	before := runtime.NumGoroutine()
	for range 20 {
		began := time.Now()
		got := a.Ask(dead, good, filepath.Join(dead, "x/y"), link)
		device := DeviceAt(dead)
		if got[0].Hangs != device || got[2].Hangs != device || got[3].Hangs != device || got[1].Hangs != "" || got[1].ID == (inode.ID{}) {
			t.Fatalf("%+v; the device is %s", got, device)
		}
		if device == DeviceAt(good) || Device(got[1].ID) != DeviceAt(good) {
			t.Fatalf("the dead one's device is %s, that above it %s", device, Device(got[1].ID))
		}
		if took := time.Since(began); took > time.Minute {
			t.Errorf("it took %v", took)
		}
	}
	if more := runtime.NumGoroutine() - before; more > 10 {
		t.Errorf("%d goroutines more", more)
	}
	device := DeviceAt(dead)
	if err := unix.Unmount(dead, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	if got := a.Ask(dead)[0]; got.Hangs != device || DeviceAt(dead) == device {
		t.Errorf("a question that still hangs after the unmount: %+v, want %s", got, device)
	}
	end()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if got := a.Ask(dead)[0]; got.Hangs == "" && got.Err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("%+v", got)
		}
	}
}
