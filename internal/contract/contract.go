// Package contract has the part of the contract with what runs in a sandbox that who
// fills a share, or shows it, must know. Package drivers has all of it, and says what it
// means.
package contract

import "time"

// The names of the two files in a share that are the gateway's.
const (
	TokenName    = "sandbox.jwt"
	MetadataName = "metadata.json"
)

// AuthDir is where a sandbox finds its share.
const AuthDir = "/etc/openshell/auth"

// AuthMode is the one that there is.
const AuthMode = "gateway-managed-file"

// Metadata is the content of the file beside the token.
type Metadata struct {
	Generation uint64    `json:"generation"`
	IssuedAt   time.Time `json:"issuedAt"`
	ExpiresAt  time.Time `json:"expiresAt"`
	RenewAt    time.Time `json:"renewAt"` // when the gateway means to replace it
	Gateway    string    `json:"gateway"` // the gateway's id
	AuthMode   string    `json:"authMode"`
}
