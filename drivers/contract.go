package drivers

import (
	"cmp"
	"slices"
	"strings"

	"openshell-vm/internal/contract"
	"openshell-vm/internal/vocab"
	"openshell-vm/share/layout"
)

// What runs inside a sandbox finds the same under every driver: these variables, these
// paths and these fields. The files are read-only. Every user of the sandbox may read them,
// unless a TokenUser is named. Package driverstest checks each driver against this contract.

// AuthDir is where a sandbox finds its own share, unless its Spec says otherwise. TokenFile is the token in it. MetadataFile is
// the generation, its times and the gateway's id: see Metadata. DataDir is a link to the
// current generation's directory. A program that opens DataDir once and reads both files
// through it gets them from the same generation.
const (
	AuthDir      = contract.AuthDir
	TokenFile    = AuthDir + "/" + TokenName
	MetadataFile = AuthDir + "/" + MetadataName
	DataDir      = AuthDir + "/" + layout.Data
)

// MirrorDir is where a VM with Inotify finds the mirror of its share, which has the same layout.
// There TokenFileEnv leads to MirrorTokenFile.
const (
	MirrorDir       = contract.MirrorDir + "/" + contract.MirrorName
	MirrorTokenFile = MirrorDir + "/" + TokenName
)

// DoorDir is where a sandbox finds its gateway's socket, GatewaySocket. What the gateway answers
// there is in package gateway/oauth. The socket is the sandbox's own: by it the gateway knows who
// asks.
const (
	DoorDir       = "/run/openshell"
	GatewaySocket = DoorDir + "/gateway.sock"
)

// The names of the two files in a share.
const (
	TokenName    = contract.TokenName
	MetadataName = contract.MetadataName
)

// The variables that every process of a sandbox has. The value of AuthModeEnv is an AuthMode.
const (
	TokenFileEnv = "OPENSHELL_SANDBOX_TOKEN_FILE"
	AuthModeEnv  = "OPENSHELL_SANDBOX_AUTH_MODE"
)

// AuthMode says who makes the token and who keeps it fresh. In each mode of a sandbox that is
// done on the host, and nothing inside has to.
type AuthMode = vocab.AuthMode

// The auth modes that a sandbox can have.
const (
	ManagedFile = vocab.ManagedFile
	StaticToken = vocab.StaticToken
)

// GatewayURLEnv says where the gateway's socket is, in a sandbox that has one. GatewayURL is its
// value.
const (
	GatewayURLEnv = "OPENSHELL_GATEWAY_URL"
	GatewayURL    = "unix://" + GatewaySocket
)

// Metadata is MetadataFile's content. It tells how long the token is valid, so a program
// need not parse the token.
type Metadata = contract.Metadata

// ContractEnv returns the variables that every sandbox has whose own share is at authDir, with
// this auth mode, as K=V.
func ContractEnv(mode AuthMode, authDir string) []string {
	return []string{TokenFileEnv + "=" + authDir + "/" + TokenName, AuthModeEnv + "=" + string(mode.Known())}
}

// ContractEnv returns the variables of a sandbox as K=V. A sandbox without a socket of the
// gateway has none that names it.
func (s Spec) ContractEnv() []string {
	env := ContractEnv(s.Tokens.Mode, cmp.Or(s.Auth.Target(), AuthDir))
	if s.VM.Inotify {
		env[0] = TokenFileEnv + "=" + MirrorTokenFile
	}
	if s.Door != (Mount{}) {
		env = append(env, GatewayURLEnv+"="+GatewayURL)
	}
	return env
}

// WithContract returns env with the contract's variables that env does not set. It does not
// change env.
func (s Spec) WithContract(env []string) []string { return WithDefaults(env, s.ContractEnv()...) }

// WithDefaults returns env with each K=V whose K env does not set. It does not change env.
func WithDefaults(env []string, defaults ...string) []string {
	env = slices.Clone(env)
	for _, d := range defaults {
		name, _, _ := strings.Cut(d, "=")
		if !HasEnv(env, name) {
			env = append(env, d)
		}
	}
	return env
}

// HasEnv reports whether env, a list of K=V, sets the variable.
func HasEnv(env []string, name string) bool {
	return slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, name+"=") })
}
