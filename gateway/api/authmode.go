package api

import "openshell-vm/internal/vocab"

// AuthMode says who makes a sandbox's token and who keeps it fresh.
type AuthMode = vocab.AuthMode

// AuthModes are all auth modes. A request for one that no sandbox can have is refused, and the
// error names what to do instead.
var AuthModes = vocab.AuthModes

// The auth modes that a sandbox or a share can have.
const (
	ManagedFile = vocab.ManagedFile
	StaticToken = vocab.StaticToken
)
