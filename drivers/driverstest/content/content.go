// Package content is what the conformance suite publishes in place of a token:
// a text that has a token's form and size, says its own generation, and cannot
// be torn unnoticed.
package content

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// New makes a content for a generation: the generation, a random body, and a
// digest of both in a signature's place, with dots between.
func New(generation uint64) []byte {
	body := make([]byte, 500)
	_, _ = rand.Read(body) // never fails
	text := strconv.FormatUint(generation, 10) + "." + base64.RawURLEncoding.EncodeToString(body)
	return []byte(text + "." + digest(text))
}

// Check gives the generation of a whole content.
func Check(data []byte) (uint64, error) {
	text := string(data)
	dot := strings.LastIndexByte(text, '.')
	if dot < 0 || digest(text[:dot]) != text[dot+1:] {
		return 0, fmt.Errorf("torn: %d bytes", len(data))
	}
	number, _, _ := strings.Cut(text, ".")
	return strconv.ParseUint(number, 10, 64)
}

// Signature is the part that must not be found anywhere else.
func Signature(data []byte) (string, error) {
	parts := strings.Split(string(data), ".")
	if len(parts) != 3 {
		return "", errors.New("not a content of this package")
	}
	return parts[2], nil
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Contract is what one process inside sees of the contract, as the witness
// reports it to the suite.
type Contract struct {
	UID      int
	Env      map[string]string // the contract's variables
	Token    uint64            // generation of the file that the variable names
	Metadata []byte            // of metadata.json
	Names    []string          // in the share
	Errors   map[string]string // by what was tried; "write" must have one
}
