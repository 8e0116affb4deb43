// Package contract is the part of the contract with a sandbox's programs that the gateway
// needs to fill a share, and a guest to show it. Package drivers has the whole contract,
// and says what it means.
package contract

import (
	"time"

	"openshell-vm/internal/vocab"
)

// Names of the gateway's two files in a share.
const (
	TokenName    = "sandbox.jwt"
	MetadataName = "metadata.json"
)

// AuthDir is where a sandbox finds its own share, unless its user said otherwise. In SharesDir it
// finds the others that it is shown, each by its name. OwnDir is above both: what is there is of the
// gateway's.
const (
	OwnDir    = "/etc/openshell"
	AuthDir   = OwnDir + "/auth"
	SharesDir = OwnDir + "/shares"
)

// MirrorDir is where a VM with inotify finds the copies of its shares. MirrorName is the copy of
// its own share there.
const (
	MirrorDir  = "/etc/openshell/mirror"
	MirrorName = "auth"
)

// Metadata is the content of MetadataName.
type Metadata struct {
	Generation uint64         `json:"generation"`
	IssuedAt   time.Time      `json:"issuedAt"`
	ExpiresAt  time.Time      `json:"expiresAt"`
	RenewAt    time.Time      `json:"renewAt"` // when the gateway will replace the token
	Gateway    string         `json:"gateway"` // the gateway's id
	AuthMode   vocab.AuthMode `json:"authMode"`

	// Tokens are the tokens for other audiences in the same generation. The times above are
	// those of TokenName.
	Tokens []TokenMetadata `json:"tokens,omitempty"`
	// Sources are the files that the gateway keeps fresh from a file, a command or a secret.
	Sources []SourceMetadata `json:"sources,omitempty"`
}

// SourceMetadata describes what one source gives.
type SourceMetadata struct {
	File      string    `json:"file"`               // relative to the share; a directory if the source gives several
	ExpiresAt time.Time `json:"expiresAt,omitzero"` // at the earliest; absent if the gateway does not know it
}

// TokenMetadata describes a token for another audience than the gateway.
type TokenMetadata struct {
	File      string    `json:"file"`
	Audience  string    `json:"audience"`
	Algorithm string    `json:"alg"`
	IssuedAt  time.Time `json:"issuedAt"`
	ExpiresAt time.Time `json:"expiresAt"`
	RenewAt   time.Time `json:"renewAt"`
}
