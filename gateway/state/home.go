package state

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

	"openshell-vm/gateway/api"
	"openshell-vm/internal/fault"
	"openshell-vm/internal/logind"
)

// lockPatience is how long a gateway waits for the state lock.
const lockPatience = 500 * time.Millisecond

// Home is one gateway's two directories, held under the state lock. While a process has it
// open, no other gateway writes there.
type Home struct {
	Places
	lock  *os.File
	rooms []*Room // see room.go
}

// ErrTaken means that another gateway holds the state directory.
var ErrTaken = errors.New("another gateway is running there")

// EnvOnlyOld is set for a gateway that is run again in a state directory that was there
// before: its Open makes no new one. The directory's file system may just be moved, so that
// the place is empty for a moment.
const EnvOnlyOld = "OPENSHELL_STATE_ONLY_OLD"

// Open finds the directories that the environment names, and makes missing ones. It refuses
// those that others could read or change. Then it takes the lock. Close, or any end of the
// process, releases the lock.
func Open() (*Home, error) {
	state, err := api.StateDir()
	if err != nil {
		return nil, err
	}
	h := &Home{Places: Places{State: state}}
	if os.Getenv(EnvOnlyOld) != "" {
		if _, err := os.Lstat(filepath.Join(h.State, api.IdentityFile)); err != nil {
			return nil, notThere(err)
		}
	}
	if err := PrivateDir(h.State); err != nil {
		return nil, err
	}
	if err := h.takeLock(); err != nil {
		return nil, err
	}
	h.makeCache()
	if err := h.settle(); err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

// notThere refuses to make a state directory anew.
func notThere(err error) error {
	return &fault.Error{Op: "open the state directory again", Err: err,
		Hint: "mount its file system, or start the gateway anew: openshell-vm gateway restart"}
}

// Check refuses a state directory that Open would refuse. It does not take the lock. It makes
// a missing state directory.
func Check() error {
	state, err := api.StateDir()
	if err != nil {
		return err
	}
	return PrivateDir(state)
}

// Close releases the lock.
func (h *Home) Close() { h.lock.Close() }

// takeLock takes the lock, and writes this process's pid into the lock file for the next
// one's error.
func (h *Home) takeLock() error {
	path := filepath.Join(h.State, LockFile)
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
		return &fault.Error{Op: "open the state directory " + h.State,
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

// flock takes the lock. It waits for lockPatience, since the holder may be about to end: a
// stopped gateway closes its socket a moment before. It does not wait while a gateway
// listens.
func flock(file *os.File) error {
	for end := time.Now().Add(lockPatience); ; time.Sleep(lockPatience / 50) {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(end) || api.Listens(context.Background()) {
			return err
		}
	}
}

// settle finds and makes all the rest, under the lock.
func (h *Home) settle() error {
	identity, err := api.ReadIdentity(h.State)
	switch {
	case errors.Is(err, fs.ErrNotExist) && os.Getenv(EnvOnlyOld) != "":
		return notThere(err) // it was moved since Open looked
	case errors.Is(err, fs.ErrNotExist):
		identity.ID = NewID()
	case err != nil:
		return &fault.Error{Op: "read the gateway's identity", Err: err,
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
	if os.Getenv(api.EnvRuntimeDir) == "" { // else the directory above may belong to anybody
		private = append([]string{filepath.Dir(h.Runtime)}, private...)
	}
	for _, dir := range private {
		if err := PrivateDir(dir); err != nil {
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

// checkSocket refuses a runtime directory where another state directory's gateway listens.
// That happens if one directory is a copy of the other: both have the same id. We hold the
// lock, so the gateway that listens is not of this state directory, or it is about to end.
func (h *Home) checkSocket() error {
	for end := time.Now().Add(lockPatience); api.Listens(context.Background()); time.Sleep(lockPatience / 50) {
		if time.Now().After(end) {
			return &fault.Error{Op: "listen on " + h.Socket(),
				Err: errors.New("the gateway of another state directory listens there: " +
					"this one was copied, or both share a runtime directory"),
				Hint: "give each its own " + api.EnvRuntimeDir + ", or end that gateway"}
		}
	}
	return nil
}

// chooseShares puts shares into the runtime directory, if that is tmpfs and outlives the
// user's logout, else into the state directory. A running sandbox must not lose its share's
// directory.
func (h *Home) chooseShares() string {
	if !strings.HasPrefix(h.Runtime, h.State+"/") && OnTmpfs(filepath.Dir(h.Runtime)) && outlivesLogout() {
		return filepath.Join(h.Runtime, sharesDir)
	}
	return filepath.Join(h.State, sharesDir)
}

// outlivesLogout reports whether the runtime directory outlives the user's last session.
// logind removes /run/user/UID then, unless lingering is on.
func outlivesLogout() bool {
	if os.Geteuid() == 0 {
		return true
	}
	return logind.Lingers(logind.Host(), logind.User())
}

// LogAttrs returns the facts for the log's first line.
func (h *Home) LogAttrs() []any {
	return []any{slog.String("id", h.ID), slog.String("state", h.State), slog.String("runtime", h.Runtime), slog.String("shares", h.Shares)}
}
