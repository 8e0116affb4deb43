package state

import (
	"crypto/rand"
	"fmt"
	"math/big"
	"path/filepath"
	"regexp"

	"openshell-vm/gateway/api"
)

// Names in the state directory. gateway.json is api.IdentityFile. The vm driver puts its own
// files beside a sandbox's record.
const (
	stateLink    = "state"        // in the runtime directory: a link to the state directory, for other gateways
	LockFile     = "lock"         // flock'ed by the only writer; contains that gateway's pid
	LogFile      = "gateway.log"  // written under a supervisor; rotated
	keysDir      = "keys"         // see package tokens
	sandboxesDir = "sandboxes"    // <id>/sandbox.json, and what the driver keeps
	RecordFile   = "sandbox.json" // a Record
	FilesFile    = "files.json"   // further files of the share, by name
	sharesDir    = "shares"       // <id>/, see package share; it may lie in the runtime directory instead (chooseShares)
	ReserveDir   = "reserve"      // room for renewals, see share.Reserve; in each directory that has shares
	namedDir     = "named"        // <name>/: shares for containers of the user's own
	volumesDir   = "volumes"      // <name>/: volumes of the user's, which sandboxes may write to
	volumeData   = "data"         // in a volume's directory: what is mounted
)

// Sandboxes returns the directory with one directory per sandbox.
func (h *Home) Sandboxes() string { return filepath.Join(h.State, sandboxesDir) }

// Socket returns the path of the socket on which the gateway listens.
func (h *Home) Socket() string { return filepath.Join(h.Runtime, api.SocketFile) }

// Keys returns the directory for package tokens.
func (h *Home) Keys() string { return filepath.Join(h.State, keysDir) }

// SandboxDir returns one sandbox's directory, with its record and its driver's files.
func (h *Home) SandboxDir(id string) string { return filepath.Join(h.State, sandboxesDir, id) }

// RecordPath returns the path of one sandbox's Record.
func (h *Home) RecordPath(id string) string { return filepath.Join(h.SandboxDir(id), RecordFile) }

// FilesPath returns the path of one sandbox's FilesFile.
func (h *Home) FilesPath(id string) string { return filepath.Join(h.SandboxDir(id), FilesFile) }

// NamedShare returns the directory of a share of the user's own. It goes by the share's name,
// so that the user's containers find it after a reboot.
func (h *Home) NamedShare(name string) string { return filepath.Join(h.State, namedDir, name) }

// Volumes returns the directory with one directory per volume.
func (h *Home) Volumes() string { return filepath.Join(h.State, volumesDir) }

// VolumeDir returns one volume's own directory, 0700.
func (h *Home) VolumeDir(name string) string { return filepath.Join(h.Volumes(), name) }

// VolumeData returns the directory that is mounted. Everything in it is its sandboxes'.
func (h *Home) VolumeData(name string) string { return filepath.Join(h.VolumeDir(name), volumeData) }

// SharePlaces returns the directories where this gateway may have made a sandbox's share. New
// shares go into the first.
func (h *Home) SharePlaces() []string {
	return []string{h.Shares, filepath.Join(h.State, sharesDir), filepath.Join(h.Runtime, sharesDir)}
}

// IsID reports whether id has the form of a gateway's or a sandbox's id.
func IsID(id string) bool { return idPattern.MatchString(id) }

var (
	idPattern   = regexp.MustCompile(`^[a-z0-9]{12}$`)
	namePattern = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$`)
)

// CheckName refuses a malformed name. Names go into engines' object names and labels, and
// into paths below namedDir.
func CheckName(name string) error {
	if namePattern.MatchString(name) {
		return nil
	}
	return &api.Error{Code: api.CodeInvalid, Message: fmt.Sprintf("the name %q can't be used", name),
		Hint: "a name is 1 to 63 letters, digits, '_', '.' or '-', and begins with a letter or a digit"}
}

// NewID returns a random id of 62 bits, in the form [a-z0-9]{12}.
func NewID() string {
	const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789"
	var id [12]byte
	for i := range id {
		id[i] = alphabet[pick(len(alphabet))]
	}
	return string(id[:])
}

func pick(n int) int {
	i, _ := rand.Int(rand.Reader, big.NewInt(int64(n))) // never fails: it ends the program instead
	return int(i.Int64())
}
