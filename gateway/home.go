package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/internal/logind"
)

// lockPatience is how long a gateway waits for the state lock.
const lockPatience = 500 * time.Millisecond

// Home is one gateway's two directories, held under the state lock: while a
// process has it open, no other gateway writes there.
type Home struct {
	State   string // 0700, this user's
	Runtime string // 0700, this user's; sockets
	Shares  string // where new shares are made
	ID      string // the gateway's id, [a-z0-9]{12}; made at the first open

	lock  *os.File
	rooms []*room // see room.go
}

// ErrTaken says that another gateway holds the state directory.
var ErrTaken = errors.New("another gateway is running there")

// OpenHome finds the directories that the environment names, makes what is
// missing, refuses what others could read or change, and takes the lock. The
// lock is released by Close or by the end of the process, however that comes.
func OpenHome() (*Home, error) {
	state, err := api.StateDir()
	if err != nil {
		return nil, err
	}
	h := &Home{State: state}
	if err := privateDir(h.State); err != nil {
		return nil, err
	}
	if err := h.takeLock(); err != nil {
		return nil, err
	}
	if err := h.settle(); err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

// CheckHome refuses what OpenHome would refuse of the state directory, without
// the lock. One that does not exist yet is made.
func CheckHome() error {
	state, err := api.StateDir()
	if err != nil {
		return err
	}
	return privateDir(state)
}

// Close releases the lock.
func (h *Home) Close() { h.lock.Close() }

// takeLock also notes who has it, for the message that the next one gives.
func (h *Home) takeLock() error {
	path := filepath.Join(h.State, lockFile)
	lock, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("open the state lock: %w", err)
	}
	if err := flock(lock); err != nil {
		defer lock.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("lock %s: %w", path, err)
		}
		owner, _ := api.ReadState(path)
		return &drivers.Error{Op: "open the state directory " + h.State,
			Err:  fmt.Errorf("%w (pid %s)", ErrTaken, strings.TrimSpace(string(owner))),
			Hint: "use that gateway, end it with: openshell-vm gateway stop, or set " + api.EnvStateDir + " to another directory"}
	}
	h.lock = lock
	// In a fixed width, so that a full disk does not prevent its being overwritten.
	if _, err := lock.WriteAt(fmt.Appendf(nil, "%-10d\n", os.Getpid()), 0); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// flock takes a lock whose holder may be about to end: one that was stopped
// closes its socket a moment before. One that listens keeps it.
func flock(file *os.File) error {
	for end := time.Now().Add(lockPatience); ; time.Sleep(lockPatience / 50) {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(end) || api.Listens(context.Background()) {
			return err
		}
	}
}

// settle makes the rest, under the lock.
func (h *Home) settle() error {
	identity, err := api.ReadIdentity(h.State)
	if errors.Is(err, fs.ErrNotExist) {
		identity.ID = newID()
	} else if err != nil {
		return &drivers.Error{Op: "read the gateway's identity", Err: err,
			Hint: "restore the file; without it the running sandboxes' tokens name an unknown gateway"}
	}
	h.ID = identity.ID
	if err := h.checkOriginal(identity); err != nil {
		return err
	}
	if h.Runtime, err = api.RuntimeDir(h.State, identity); err != nil {
		return err
	}
	h.Shares = h.chooseShares()
	private := []string{h.Runtime, filepath.Join(h.State, sandboxesDir), h.Shares}
	if os.Getenv(api.EnvRuntimeDir) == "" { // else the directory above may be anybody's
		private = append([]string{filepath.Dir(h.Runtime)}, private...)
	}
	for _, dir := range private {
		if err := privateDir(dir); err != nil {
			return err
		}
	}
	if err := h.checkSocket(); err != nil {
		return err
	}
	if err := h.findRooms(); err != nil {
		return err
	}
	if err := replaceLink(h.State, filepath.Join(h.Runtime, stateLink)); err != nil {
		return fmt.Errorf("note the state directory for other gateways: %w", err)
	}
	now := api.Identity{ID: h.ID, RuntimeDir: h.Runtime, StateDir: h.State}
	if identity == now {
		return nil
	}
	data, err := json.Marshal(now)
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(h.State, api.IdentityFile), append(data, '\n'))
}

// checkSocket refuses where another state directory's gateway listens: that of
// one which this one was copied from, since both have one id. The lock says that
// it is not of this state directory, or is about to be gone.
func (h *Home) checkSocket() error {
	for end := time.Now().Add(lockPatience); api.Listens(context.Background()); time.Sleep(lockPatience / 50) {
		if time.Now().After(end) {
			return &drivers.Error{Op: "listen on " + h.socket(),
				Err:  errors.New("the gateway of another state directory listens there: this one was copied, or both share a runtime directory"),
				Hint: "give each its own " + api.EnvRuntimeDir + ", or end that gateway"}
		}
	}
	return nil
}

// chooseShares takes the runtime directory where it is tmpfs and outlives the
// user's logout: a running sandbox must not lose its share's directory.
func (h *Home) chooseShares() string {
	if !strings.HasPrefix(h.Runtime, h.State+"/") && onTmpfs(filepath.Dir(h.Runtime)) && outlivesLogout() {
		return filepath.Join(h.Runtime, sharesDir)
	}
	return filepath.Join(h.State, sharesDir)
}

// outlivesLogout: logind removes /run/user/UID when the user's last session
// ends, unless the user lingers.
func outlivesLogout() bool {
	if os.Geteuid() == 0 {
		return true
	}
	return logind.Lingers(logind.Host(), logind.User())
}

// onTmpfs looks at the nearest ancestor that exists.
func onTmpfs(dir string) bool {
	return fileSystem(dir) == "tmpfs"
}

// fileSystem names the file system type that path or its nearest existing ancestor is on.
func fileSystem(path string) string {
	var st unix.Statfs_t
	for unix.Statfs(path, &st) != nil && path != "/" {
		path = filepath.Dir(path)
	}
	switch st.Type {
	case unix.TMPFS_MAGIC:
		return "tmpfs"
	case unix.EXT4_SUPER_MAGIC:
		return "ext4"
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs"
	case unix.XFS_SUPER_MAGIC:
		return "xfs"
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlay"
	case unix.NFS_SUPER_MAGIC:
		return "nfs"
	}
	return fmt.Sprintf("%#x", st.Type)
}

// privateDir makes dir, or refuses it: it must be a directory of this user's,
// no symlink, that nobody else can look into.
func privateDir(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return refuse(dir, err, "choose another place with "+api.EnvStateDir)
	}
	if err := os.Mkdir(dir, 0o700); err == nil {
		return os.Chmod(dir, 0o700) // a umask may have taken the owner's bits
	} else if !errors.Is(err, fs.ErrExist) {
		return refuse(dir, err, "choose another place with "+api.EnvStateDir)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return refuse(dir, err, "choose another place with "+api.EnvStateDir)
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		return refuse(dir, errors.New("it is a symbolic link"), "replace it by a directory, or name its target with "+api.EnvStateDir)
	case !info.IsDir():
		return refuse(dir, errors.New("it is not a directory"), "move it away")
	case int(owner) != os.Geteuid():
		return refuse(dir, fmt.Errorf("it belongs to user %d, not to user %d", owner, os.Geteuid()),
			"run as its owner, or choose another place with "+api.EnvStateDir)
	case info.Mode().Perm()&0o077 != 0:
		return refuse(dir, fmt.Errorf("other users can open it (mode %04o)", info.Mode().Perm()), "if nobody else has been in it: chmod 700 "+dir)
	}
	return nil
}

func refuse(dir string, err error, hint string) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	return &drivers.Error{Op: "use the directory " + dir, Err: err, Hint: hint}
}

// logAttrs are the facts for the log's first line.
func (h *Home) logAttrs() []any {
	return []any{slog.String("id", h.ID), slog.String("state", h.State), slog.String("runtime", h.Runtime), slog.String("shares", h.Shares)}
}
