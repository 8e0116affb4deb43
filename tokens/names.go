package tokens

// What lies in a key directory, itself 0700:
//
//	<kid>.pem     a private key, PKCS#8 in PEM, 0600
//	keys.json     which key signs, and until when the others verify
//	.new-*        a file being written; left behind only by a kill
//
// Anything else there is not ours, and is left alone.
const (
	stateName   = "keys.json"
	keySuffix   = ".pem"
	tmpPrefix   = ".new-"
	keyBlock    = "PRIVATE KEY"
	stateFormat = 1
	kidSize     = 16 // bytes, written in hex
)

// MaxSize bounds a raw token, in bytes. Ours have about 600.
const MaxSize = 4096

const (
	issuerPrefix  = "openshell-gateway:"
	subjectPrefix = "spiffe://openshell/sandbox/"
	maxID         = 64
)

// validID says whether s can stand in a SPIFFE path and in a file's name.
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
