package drivers

import (
	"slices"
	"strings"

	"openshell-vm/internal/contract"
	"openshell-vm/share/layout"
)

// The contract with what runs inside a sandbox is the same under every driver:
// these variables, these paths, these fields, all of it read-only and readable
// by every user of the sandbox, unless a TokenUser is named. Package driverstest
// holds each driver to it, word by word.

// AuthDir is where a sandbox finds its share, TokenFile the token in it and
// MetadataFile the generation, its times and the gateway's id (Metadata).
// DataDir leads to the current generation's directory: who opens it once and
// reads both files through it has them of one generation.
const (
	AuthDir      = contract.AuthDir
	TokenFile    = AuthDir + "/" + TokenName
	MetadataFile = AuthDir + "/" + MetadataName
	DataDir      = AuthDir + "/" + layout.Data
)

// The names of the two files in a share.
const (
	TokenName    = contract.TokenName
	MetadataName = contract.MetadataName
)

// The variables that every process of a sandbox has, and AuthMode, the one mode
// that there is: the gateway keeps the file fresh, and nobody inside has to.
const (
	TokenFileEnv = "OPENSHELL_SANDBOX_TOKEN_FILE"
	AuthModeEnv  = "OPENSHELL_SANDBOX_AUTH_MODE"
	AuthMode     = contract.AuthMode
)

// Metadata is MetadataFile's content, for programs that want to know how long
// the token lasts without parsing it.
type Metadata = contract.Metadata

// ContractEnv gives the contract's variables as K=V.
func ContractEnv() []string {
	return []string{TokenFileEnv + "=" + TokenFile, AuthModeEnv + "=" + AuthMode}
}

// WithContract adds to env those of the contract's variables that the user did
// not set, and leaves env itself as it is.
func WithContract(env []string) []string { return WithDefaults(env, ContractEnv()...) }

// WithDefaults adds each K=V whose K is not set, and leaves env itself as it is.
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

// HasEnv says whether env sets the variable.
func HasEnv(env []string, name string) bool {
	return slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, name+"=") })
}
