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
	auditFile    = "audit.log"    // see package audit; rotated
	keysDir      = "keys"         // see package tokens
	sandboxesDir = "sandboxes"    // <id>/sandbox.json, and what the driver keeps
	RecordFile   = "sandbox.json" // a Record
	FilesFile    = "files.json"   // further files of the share, by name
	sharesDir    = "shares"       // <id>/, see package share; it may lie in the runtime directory instead (chooseShares)
	doorsDir     = "doors"        // <id>/: the gateway's socket for a sandbox; beside sharesDir, wherever that is
	ReserveDir   = "reserve"      // room for renewals, see blanks.Reserve; in each directory that has shares
	namedDir     = "named"        // <name>/: shares for containers of the user's own
	volumesDir   = "volumes"      // <name>/: volumes of the user's, which sandboxes may write to
	volumeData   = "data"         // in a volume's directory: what is mounted
	secretsDir   = "secrets"      // see package vault: each secret is an encrypted file
	secretsKey   = "secrets.key"  // what they are encrypted with; not in secretsDir, so that a copy of that is worth nothing
	issuerFile   = "issuer.json"  // which issuers tokens name, see package issuer
	issuerDir    = "issuer"       // the issuer's documents, for the user's hook
	configKept   = "gateway.toml" // the last good configuration, see config.Open
)

// Places are where a gateway keeps what. Their methods change nothing on disk.
type Places struct {
	State   string // belongs to this user, 0700
	Runtime string // belongs to this user, 0700; for sockets
	Shares  string // where new shares are made
	ID      string // the gateway's id, [a-z0-9]{12}; made at the first Open
}

// Sandboxes returns the directory with one directory per sandbox.
func (p Places) Sandboxes() string { return filepath.Join(p.State, sandboxesDir) }

// Socket returns the path of the socket on which the gateway listens.
func (p Places) Socket() string { return filepath.Join(p.Runtime, api.SocketFile) }

// Audit returns the path of the audit log.
func (h *Home) Audit() string { return filepath.Join(h.State, auditFile) }

// Keys returns the directory for package tokens.
func (p Places) Keys() string { return filepath.Join(p.State, keysDir) }

// Secrets returns the directory of package vault.
func (p Places) Secrets() string { return filepath.Join(p.State, secretsDir) }

// SecretsKey returns the path of the key of package vault.
func (p Places) SecretsKey() string { return filepath.Join(p.State, secretsKey) }

// Issuer returns the path of the file for package issuer.
func (h *Home) Issuer() string { return filepath.Join(h.State, issuerFile) }

// IssuerFiles returns the directory for package issuer's hook.
func (h *Home) IssuerFiles() string { return filepath.Join(h.State, issuerDir) }

// ConfigKept returns the path for the text of the last good configuration.
func (h *Home) ConfigKept() string { return filepath.Join(h.State, configKept) }

// SandboxDir returns one sandbox's directory, with its record and its driver's files.
func (p Places) SandboxDir(id string) string { return filepath.Join(p.State, sandboxesDir, id) }

// RecordPath returns the path of one sandbox's Record.
func (p Places) RecordPath(id string) string { return filepath.Join(p.SandboxDir(id), RecordFile) }

// FilesPath returns the path of one sandbox's FilesFile.
func (p Places) FilesPath(id string) string { return filepath.Join(p.SandboxDir(id), FilesFile) }

// NamedShare returns the directory of a share of the user's own. It goes by the share's name,
// so that the user's containers find it after a reboot.
func (p Places) NamedShare(name string) string { return filepath.Join(p.State, namedDir, name) }

// Volumes returns the directory with one directory per volume.
func (p Places) Volumes() string { return filepath.Join(p.State, volumesDir) }

// VolumeDir returns one volume's own directory, 0700.
func (p Places) VolumeDir(name string) string { return filepath.Join(p.Volumes(), name) }

// VolumeData returns the directory that is mounted. Everything in it is its sandboxes'.
func (p Places) VolumeData(name string) string { return filepath.Join(p.VolumeDir(name), volumeData) }

// SharePlaces returns the directories where this gateway may have made a sandbox's share. New
// shares go into the first.
func (p Places) SharePlaces() []string {
	return []string{p.Shares, filepath.Join(p.State, sharesDir), filepath.Join(p.Runtime, sharesDir)}
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
