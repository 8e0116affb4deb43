package tokens

// The files in a key directory, which has mode 0700:
//
//	<kid>.pem     a private key, PKCS#8 in PEM, 0600
//	keys.json     the keys: their algorithms, which sign later, until when others verify
//	.new-*        a file that is being written; only a kill leaves one behind
//
// All other files there are foreign, and are left alone.
const (
	stateName   = "keys.json"
	keySuffix   = ".pem"
	tmpPrefix   = ".new-"
	keyBlock    = "PRIVATE KEY"
	stateFormat = 2
	kidSize     = 16 // bytes, written in hex
)

// MaxSize bounds a raw token, in bytes. One for the gateway has about 600, one that is
// signed with RSA and has no claims of the user's about 1,000. Many servers read no header line
// over 8 KiB.
const MaxSize = 8192

const (
	issuerPrefix       = "openshell-gateway:"
	defaultTrustDomain = "openshell"
	maxID              = 64
)

// validID reports whether s can be part of a SPIFFE path and of a file's name.
func validID(s string) bool {
	if s == "" || len(s) > maxID || s[0] == '.' {
		return false
	}
	for _, c := range []byte(s) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && !(c >= '0' && c <= '9') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}
