package vocab

import "time"

// Tokens are the tokens that a sandbox has beside the one for the gateway, and what they say. Mode
// and Static are about that one.
type Tokens struct {
	// Mode says who makes it; "" for ManagedFile.
	Mode AuthMode `json:"authMode,omitempty"`
	// Static is the absolute path of the user's own token on the host, if Mode is StaticToken.
	Static string `json:"staticToken,omitempty"`

	// Identity makes a subject that outlives the sandbox; "" for the sandbox's own. The token
	// for the gateway always has the sandbox's own.
	Identity string `json:"identity,omitempty"`
	// Files are published beside the token for the gateway.
	Files []TokenFile `json:"files,omitempty"`
	// Audiences are those that the sandbox may ask a token for, beside those of Files.
	Audiences []string `json:"audiences,omitempty"`
	// Claims are the user's own, in each token but the one for the gateway.
	Claims map[string]string `json:"claims,omitempty"`
}

// TokenFile is a file of a share that holds a token for one audience.
type TokenFile struct {
	Audience string `json:"audience"`
	// File is its name in the share.
	File string `json:"file,omitempty"`
	// TTL is each token's lifetime; 0 for that of the token for the gateway.
	TTL time.Duration `json:"ttl,omitempty"`
	// Algorithm is ES256, RS256 or EdDSA; "" for ES256.
	Algorithm string `json:"alg,omitempty"`
	// NoID leaves jti out, for a verifier that takes each jti only once.
	NoID bool `json:"noJti,omitempty"`
	// Preset is the provider whose SDK reads the file, such as aws; "" for none. Parameter is
	// what the provider needs to be told, such as a role.
	Preset    string `json:"preset,omitempty"`
	Parameter string `json:"parameter,omitempty"`
}

// IsZero reports whether there is no token but that for the gateway.
func (t Tokens) IsZero() bool {
	return t.Mode == "" && t.Static == "" && t.Identity == "" && len(t.Files) == 0 && len(t.Audiences) == 0 && len(t.Claims) == 0
}
