package gateway

import (
	"crypto/rand"
	"fmt"
	"math/big"
	"path/filepath"
	"regexp"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
)

// Names in the state directory. gateway.json is api.IdentityFile; the vm driver
// puts its own files beside a sandbox's record.
const (
	stateLink    = "state"        // in the runtime directory: a link to the state directory, for other gateways
	lockFile     = "lock"         // flock'ed by the one writer; its content is that gateway's pid
	LogFile      = "gateway.log"  // under a supervisor; rotated
	keysDir      = "keys"         // package tokens
	sandboxesDir = "sandboxes"    // <id>/sandbox.json and what the driver keeps
	recordFile   = "sandbox.json" // Record
	filesFile    = "files.json"   // further files of the share, by name
	sharesDir    = "shares"       // <id>/: package share; in the runtime directory instead where that is tmpfs and stays
	reserveDir   = "reserve"      // package share: room for renewals, here or in the runtime directory, where shares lie
	namedDir     = "named"        // <name>/: the same, of shares for containers of the user's own
)

// Names inside a share's auth directory.
const (
	tokenFile    = drivers.TokenName
	metadataFile = drivers.MetadataName // Metadata
)

// Sandboxes is the directory with one directory per sandbox.
func (h *Home) Sandboxes() string { return filepath.Join(h.State, sandboxesDir) }

func (h *Home) socket() string { return filepath.Join(h.Runtime, api.SocketFile) }

func (h *Home) sandboxDir(id string) string { return filepath.Join(h.State, sandboxesDir, id) }
func (h *Home) recordPath(id string) string { return filepath.Join(h.sandboxDir(id), recordFile) }

var (
	idPattern   = regexp.MustCompile(`^[a-z0-9]{12}$`)
	namePattern = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$`)
)

// checkName says what a name must look like. Names go into engines' object
// names and labels, and into paths below namedDir.
func checkName(name string) error {
	if namePattern.MatchString(name) {
		return nil
	}
	return &api.Error{Code: api.CodeInvalid, Message: fmt.Sprintf("the name %q can't be used", name),
		Hint: "a name is 1 to 63 letters, digits, '_', '.' or '-', and begins with a letter or a digit"}
}

// newID is 62 bits of chance in the form [a-z0-9]{12}.
func newID() string {
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

// newName makes up a name that taken does not know.
func newName(taken func(string) bool) string {
	for {
		name := adjectives[pick(len(adjectives))] + "-" + nouns[pick(len(nouns))]
		if !taken(name) {
			return name
		}
		if name = fmt.Sprintf("%s-%d", name, pick(10000)); !taken(name) {
			return name
		}
	}
}

var adjectives = []string{
	"able", "agile", "amber", "bold", "brave", "bright", "brisk", "calm", "clear", "clever", "cosy", "crisp",
	"daring", "deft", "eager", "early", "fair", "fleet", "fond", "fresh", "gentle", "glad", "golden", "grand",
	"happy", "hardy", "honest", "jolly", "keen", "kind", "light", "lively", "loyal", "lucid", "mellow", "merry",
	"mild", "neat", "nimble", "noble", "patient", "plucky", "polite", "proud", "quick", "quiet", "rapid", "ready",
	"silver", "simple", "sleek", "smart", "snug", "solid", "spry", "steady", "sunny", "swift", "tidy", "vivid", "warm", "wise",
}

var nouns = []string{
	"abalone", "ammonite", "argonaut", "auger", "bivalve", "bonnet", "cameo", "clam", "cockle", "conch", "cone", "coquina",
	"cowrie", "cuttle", "drill", "drupe", "fig", "frog", "geoduck", "harp", "helmet", "junonia", "keyhole", "lampshell",
	"limpet", "mitre", "moon", "murex", "mussel", "nautilus", "nerite", "olive", "oyster", "periwinkle", "piddock", "pearl",
	"quahog", "razor", "scallop", "slipper", "spindle", "squid", "sundial", "tellin", "top", "triton", "tulip", "turban",
	"turret", "tusk", "venus", "volute", "wentletrap", "whelk", "winkle", "worm",
}
