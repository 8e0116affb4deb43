package api

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"openshell-vm/internal/plainfile"
)

// Environment variables that move the two directories, for tests and for
// users with unusual homes. Both must be absolute.
const (
	EnvStateDir   = "OPENSHELL_STATE_DIR"   // in place of $XDG_STATE_HOME/openshell-vm
	EnvRuntimeDir = "OPENSHELL_RUNTIME_DIR" // in place of $XDG_RUNTIME_DIR/openshell-vm
)

// Names on which the gateway and its clients must agree.
const (
	projectDir   = "openshell-vm"
	IdentityFile = "gateway.json" // in the state directory: Identity
	SocketFile   = "gateway.sock" // in the runtime directory
)

// maxRuntimePath leaves room for the longest name below the runtime directory
// ("/vms/<12 characters>/<14 characters>") in a socket path of 100 bytes.
const maxRuntimePath = 100 - len("/vms/abcdefghijkl/control-1.sock")

// Identity is the content of IdentityFile. Only the gateway writes it.
type Identity struct {
	ID string `json:"id"`
	// RuntimeDir is where the sockets were last. While it exists it is used again. So a
	// client with another environment finds the gateway, and the next gateway finds the
	// sandboxes' sockets.
	RuntimeDir string `json:"runtimeDir,omitempty"`
	// StateDir is where the state directory was last. It gives a copied directory away.
	StateDir string `json:"stateDir,omitempty"`
}

// StateDir returns the state directory of this process's environment. It may not exist yet.
func StateDir() (string, error) {
	if dir := os.Getenv(EnvStateDir); dir != "" {
		return absolute(EnvStateDir, dir)
	}
	return UsualStateDir()
}

// UsualStateDir returns what StateDir returns if EnvStateDir is not set.
func UsualStateDir() (string, error) {
	if os.Geteuid() == 0 {
		return filepath.Join("/var/lib", projectDir), nil
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(filepath.Clean(dir), projectDir), nil
	}
	home := os.Getenv("HOME")
	if !filepath.IsAbs(home) {
		e := &Error{Code: CodeInvalid, Message: "find the state directory: neither HOME nor XDG_STATE_HOME is set",
			Hint: "set HOME, or " + EnvStateDir + " to an absolute path"}
		if home != "" {
			e.Message = fmt.Sprintf("find the state directory: HOME is %q, which is no absolute path", home)
		}
		return "", e
	}
	return filepath.Join(home, ".local/state", projectDir), nil
}

// ReadIdentity reads the gateway's identity from its state directory. The error is
// fs.ErrNotExist if no gateway has ever run there.
func ReadIdentity(stateDir string) (Identity, error) {
	var id Identity
	data, err := ReadState(filepath.Join(stateDir, IdentityFile))
	if err != nil {
		return id, err
	}
	if err := json.Unmarshal(data, &id); err != nil || id.ID == "" {
		return id, fmt.Errorf("%s is damaged", filepath.Join(stateDir, IdentityFile))
	}
	return id, nil
}

// maxStateFile bounds a file in the state directory, in bytes. The largest ones by far have a
// share's further files.
const maxStateFile = 64 << 20

// ReadState reads a file in the state directory. It refuses what is not a regular file:
// reading a FIFO could take for ever.
func ReadState(path string) ([]byte, error) {
	return plainfile.Read(path, maxStateFile)
}

// RuntimeDir returns the directory for the sockets of the gateway with this identity. It is
// in the first of these that there is: OPENSHELL_RUNTIME_DIR, the directory where the sockets
// were last, /run (root only), XDG_RUNTIME_DIR, the state directory. Socket paths have at
// most 100 bytes here. If one below the directory would be longer, a directory in /tmp takes
// its place; but OPENSHELL_RUNTIME_DIR is refused then. RuntimeDir makes no directory.
func RuntimeDir(stateDir string, id Identity) (string, error) {
	if dir := os.Getenv(EnvRuntimeDir); dir != "" {
		dir, err := absolute(EnvRuntimeDir, dir)
		if err != nil {
			return "", err
		}
		if dir = filepath.Join(dir, id.ID); len(dir) > maxRuntimePath {
			return "", &Error{Code: CodeInvalid, Message: fmt.Sprintf("the runtime directory %s is too long for socket paths", dir),
				Hint: fmt.Sprintf("choose %s with at most %d bytes", EnvRuntimeDir, maxRuntimePath-1-len(id.ID))}
		}
		return dir, nil
	}
	if id.RuntimeDir != "" && isOwnDir(id.RuntimeDir) {
		return id.RuntimeDir, nil
	}
	dir := filepath.Join(stateDir, "run")
	if xdg := os.Getenv("XDG_RUNTIME_DIR"); os.Geteuid() == 0 {
		dir = filepath.Join("/run", projectDir, id.ID)
	} else if filepath.IsAbs(xdg) && isOwnDir(xdg) {
		dir = filepath.Join(xdg, projectDir, id.ID)
	}
	if len(dir) > maxRuntimePath {
		dir = fmt.Sprintf("/tmp/%s-%d/%s", projectDir, os.Geteuid(), id.ID)
	}
	return dir, nil
}

// Socket returns the path on which the gateway of this environment listens. The error is
// fs.ErrNotExist if none has ever run here.
func Socket() (string, error) {
	state, err := StateDir()
	if err != nil {
		return "", err
	}
	id, err := ReadIdentity(state)
	if err != nil {
		return "", err
	}
	dir, err := RuntimeDir(state, id)
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, SocketFile), nil
}

// stateOwner returns whose processes root may connect to: the user id of the state
// directory's owner. For other users, and if it can't be known, it returns root's.
func stateOwner() uint32 {
	if os.Geteuid() != 0 {
		return 0
	}
	state, err := StateDir()
	if err != nil {
		return 0
	}
	info, err := os.Stat(state)
	if err != nil {
		return 0
	}
	return info.Sys().(*syscall.Stat_t).Uid
}

func absolute(variable, dir string) (string, error) {
	if !filepath.IsAbs(dir) || strings.ContainsAny(dir, "\n\x00") {
		return "", &Error{Code: CodeInvalid, Message: fmt.Sprintf("%s is %q, which is no absolute path", variable, dir),
			Hint: "unset " + variable + " or give an absolute path"}
	}
	return filepath.Clean(dir), nil
}

// isOwnDir reports whether path is a directory of this user that only this user can enter.
func isOwnDir(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.IsDir() && info.Mode().Perm()&0o077 == 0 && ownedByMe(info)
}

func ownedByMe(info os.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}
