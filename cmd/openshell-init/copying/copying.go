// Package copying is the child of the init that copies files out of the sandbox and into
// it, as an archive.
package copying

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"openshell-vm/internal/tree"
	"openshell-vm/internal/vocab"
)

// Name is the name under which the init runs itself to copy files. A child does that, and
// not the init: it can be killed at any moment, and the kernel takes it first if memory
// runs out.
const Name = "openshell-copy"

// NamespaceFD is the child's descriptor of the sandbox's mount namespace. Its standard
// streams are the archive, and why it failed.
const NamespaceFD = 3

// Args returns the child's arguments, its name first.
func Args(task vocab.CopyTask) ([]string, error) {
	request, err := json.Marshal(task)
	return []string{Name, string(request)}, err
}

// Main is the child. It returns its exit code. The main goroutine has to be locked to its
// thread.
func Main(args []string) int {
	var task vocab.CopyTask
	err := errors.New("it is run by the init only")
	if len(args) == 2 {
		err = json.Unmarshal([]byte(args[1]), &task)
	}
	// If the guest runs out of memory this process goes first. It may not have the file.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0)
	if err == nil {
		err = enterSandbox()
	}
	if err == nil {
		err = doCopy(task)
	}
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errNoPath):
		return vocab.CopyNoPath
	}
	fmt.Fprintln(os.Stderr, strings.ReplaceAll(err.Error(), "\n", "; "))
	return 1
}

// enterSandbox moves the main thread into the sandbox's mount namespace. It is the thread of
// the main goroutine, and of no other.
func enterSandbox() error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return err
	}
	if err := unix.Setns(NamespaceFD, unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("enter the sandbox: %w", err)
	}
	return unix.Close(NamespaceFD)
}

var errNoPath = errors.New("no such file or directory")

func doCopy(task vocab.CopyTask) error {
	if !path.IsAbs(task.Path) {
		return fmt.Errorf("%q is no absolute path", task.Path)
	}
	switch task.Do {
	case vocab.CopyStat:
		stat, err := statPath(task.Path)
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(stat)
	case vocab.CopyOut:
		return copyOut(task.Path)
	case vocab.CopyIn:
		_, err := tree.Unpack(os.Stdin, task.Path, tree.Options{Owners: true, Privileges: true, Devices: true, Follow: true})
		if errors.Is(err, fs.ErrNotExist) && !exists(task.Path) {
			return errNoPath
		}
		return err
	}
	return fmt.Errorf("this init can't do %q", task.Do)
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// statPath describes a file by its path, as the kernel resolves that here.
func statPath(file string) (vocab.PathStat, error) {
	info, err := os.Lstat(file)
	if err != nil {
		return vocab.PathStat{}, missing(err)
	}
	stat := vocab.PathStat{Name: path.Base(file), Size: info.Size(), Mode: info.Mode(), ModTime: info.ModTime()}
	if info.Mode()&fs.ModeSymlink != 0 {
		if stat.LinkTarget, err = filepath.EvalSymlinks(file); err != nil { // it leads nowhere
			stat.LinkTarget, err = os.Readlink(file)
		}
	}
	return stat, err
}

// missing is errNoPath for an error which says that a path names nothing.
func missing(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return errNoPath
	}
	return err
}

// copyOut packs what a path names. What can't be read is told at the end.
func copyOut(file string) error {
	if _, err := os.Lstat(file); err != nil {
		return missing(err)
	}
	if path.Clean(file) == "/" {
		file = "/."
	}
	done, err := tree.Pack(os.Stdout, file, tree.Base(file), tree.PackOptions{OneView: true})
	if err == nil && done.LeftOut > 0 {
		err = fmt.Errorf("%d files were left out: %s", done.LeftOut, done.FirstLeftOut)
	}
	return err
}
