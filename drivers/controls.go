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

// controlSockets are sockets through which a program can control the host. A read-only mount
// does not prevent that, because connecting to a socket is not a write.
var controlSockets = []string{
	"/run/docker.sock", "/run/containerd/containerd.sock", "/run/docker/containerd/containerd.sock",
	"/run/podman/podman.sock", "/run/crio/crio.sock", "/run/k3s/containerd/containerd.sock", "/run/buildkit/buildkitd.sock",
	"/run/systemd/private", "/run/dbus/system_bus_socket", "/run/snapd.socket", "/run/libvirt/libvirt-sock",
	"/var/lib/lxd/unix.socket", "/var/lib/incus/unix.socket", "/var/snap/lxd/common/lxd/unix.socket",
}

// userSockets are control sockets of one user, relative to the user's runtime directory.
var userSockets = []string{"docker.sock", "podman/podman.sock", "bus", "systemd/private"}

// homeSockets are control sockets relative to a user's home directory.
var homeSockets = []string{".docker/run/docker.sock", ".docker/desktop/docker.sock"}

// controlDirs returns the directories of this host that hold control sockets. The runtime
// directories are always among them. So is the directory of each control socket that exists.
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

// controlsBelow refuses a source that is dir, a directory of control sockets. Otherwise it
// returns where dir shows below the source.
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
