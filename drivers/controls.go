package drivers

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"openshell-vm/internal/inode"
	"openshell-vm/internal/mounts"
)

// controlSockets are those by which a program rules its host, wherever it runs
// and however read-only the mount is in which it finds them. Read-only is not
// powerless: connecting is no write.
var controlSockets = []string{
	"/run/docker.sock", "/run/containerd/containerd.sock", "/run/docker/containerd/containerd.sock",
	"/run/podman/podman.sock", "/run/crio/crio.sock", "/run/k3s/containerd/containerd.sock", "/run/buildkit/buildkitd.sock",
	"/run/systemd/private", "/run/dbus/system_bus_socket", "/run/snapd.socket", "/run/libvirt/libvirt-sock",
	"/var/lib/lxd/unix.socket", "/var/lib/incus/unix.socket", "/var/snap/lxd/common/lxd/unix.socket",
}

// userSockets are the same of one user, below the runtime directory.
var userSockets = []string{"docker.sock", "podman/podman.sock", "bus", "systemd/private"}

// homeSockets are those of engines that keep theirs in a home directory.
var homeSockets = []string{".docker/run/docker.sock", ".docker/desktop/docker.sock"}

// controlDirs are the directories that hold control sockets here: always those
// that are for sockets alone, and those of each socket that there is.
func controlDirs(sockets []string) []string {
	dirs := []string{"/run", "/var/run"}
	for _, runtime := range []string{os.Getenv("XDG_RUNTIME_DIR"), "/run/user/" + strconv.Itoa(os.Getuid())} {
		if filepath.IsAbs(runtime) {
			dirs = append(dirs, runtime)
			sockets = append(sockets, joined(runtime, userSockets)...)
		}
	}
	if home, err := os.UserHomeDir(); err == nil {
		sockets = append(sockets, joined(home, homeSockets)...)
	}
	for _, variable := range []string{"DOCKER_HOST", "CONTAINER_HOST"} {
		if path, ok := strings.CutPrefix(os.Getenv(variable), "unix://"); ok {
			sockets = append(sockets, "/"+strings.TrimPrefix(path, "/"))
		}
	}
	for _, socket := range append(sockets, controlSockets...) {
		if real, err := filepath.EvalSymlinks(socket); err == nil && isSocket(real) {
			dirs = append(dirs, filepath.Dir(real))
		}
	}
	return dirs
}

func joined(dir string, names []string) (paths []string) {
	for _, name := range names {
		paths = append(paths, filepath.Join(dir, name))
	}
	return paths
}

func isSocket(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().Type() == fs.ModeSocket
}

// controlsBelow refuses a source that is such a directory and finds it below.
func controlsBelow(source, real, dir string, table []mounts.Entry) ([]string, error) {
	id, err := inode.Of(dir)
	if err != nil {
		return nil, nil // it is not there, or not for this user to reach
	}
	if own, err := inode.Of(real); err == nil && own == id {
		return nil, &Error{Op: fmt.Sprintf("expose %s", source),
			Err:  fmt.Errorf("%s is where control sockets of this host are, which are as powerful in a read-only mount", dir),
			Hint: "mount the directory in it that the sandbox needs"}
	}
	return pathsBelow(real, dir, table)
}
