package state

import (
	"crypto/rand"
	"fmt"
	"math/big"
	"path/filepath"
	"regexp"

	"openshell-vm/gateway/api"
)

// Names in the state directory. gateway.json is api.IdentityFile; the vm driver
// puts its own files beside a sandbox's record.
const (
	stateLink    = "state"        // in the runtime directory: a link to the state directory, for other gateways
	LockFile     = "lock"         // flock'ed by the one writer; its content is that gateway's pid
	LogFile      = "gateway.log"  // under a supervisor; rotated
	keysDir      = "keys"         // package tokens
	sandboxesDir = "sandboxes"    // <id>/sandbox.json and what the driver keeps
	RecordFile   = "sandbox.json" // Record
	FilesFile    = "files.json"   // further files of the share, by name
	sharesDir    = "shares"       // <id>/: package share; in the runtime directory instead where that is tmpfs and stays
	ReserveDir   = "reserve"      // package share: room for renewals, here or in the runtime directory, where shares lie
	namedDir     = "named"        // <name>/: the same, of shares for containers of the user's own
)

// Sandboxes is the directory with one directory per sandbox.
func (h *Home) Sandboxes() string { return filepath.Join(h.State, sandboxesDir) }

// Socket is where the gateway listens.
func (h *Home) Socket() string { return filepath.Join(h.Runtime, api.SocketFile) }

// Keys is package tokens' directory.
func (h *Home) Keys() string { return filepath.Join(h.State, keysDir) }

// SandboxDir is one sandbox's, with its record and what its driver keeps.
func (h *Home) SandboxDir(id string) string { return filepath.Join(h.State, sandboxesDir, id) }

// RecordPath is that of a Record.
func (h *Home) RecordPath(id string) string { return filepath.Join(h.SandboxDir(id), RecordFile) }

// FilesPath is that of what Files reads.
func (h *Home) FilesPath(id string) string { return filepath.Join(h.SandboxDir(id), FilesFile) }

// NamedShare is the directory of a share of the user's own: by its name, so that
// the user's containers find it there after a reboot.
func (h *Home) NamedShare(name string) string { return filepath.Join(h.State, namedDir, name) }

// SharePlaces are where this gateway may have made a sandbox's share; new ones are
// made in the first.
func (h *Home) SharePlaces() []string {
	return []string{h.Shares, filepath.Join(h.State, sharesDir), filepath.Join(h.Runtime, sharesDir)}
}

// IsID says whether id has the form of a gateway's or a sandbox's.
func IsID(id string) bool { return idPattern.MatchString(id) }

var (
	idPattern   = regexp.MustCompile(`^[a-z0-9]{12}$`)
	namePattern = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$`)
)

// CheckName says what a name must look like. Names go into engines' object
// names and labels, and into paths below namedDir.
func CheckName(name string) error {
	if namePattern.MatchString(name) {
		return nil
	}
	return &api.Error{Code: api.CodeInvalid, Message: fmt.Sprintf("the name %q can't be used", name),
		Hint: "a name is 1 to 63 letters, digits, '_', '.' or '-', and begins with a letter or a digit"}
}

// NewID is 62 bits of chance in the form [a-z0-9]{12}.
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
