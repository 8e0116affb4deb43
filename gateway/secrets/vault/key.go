package vault

import (
	"errors"
	"fmt"
	"strings"

	"filippo.io/age"

	"openshell-vm/gateway/api"
	"openshell-vm/internal/atomicfile"
	"openshell-vm/internal/plainfile"
)

// maxKey bounds the key's file, in bytes.
const maxKey = 4096

// key reads the key. It is kept nowhere: a file that its user took away is of no more use.
func (v *Vault) key() (*age.X25519Identity, error) {
	text, err := plainfile.Read(v.keyFile, maxKey)
	if err != nil {
		return nil, fmt.Errorf("read the key of the secrets: %w", err)
	}
	// The error of age would have a part of the text.
	key, err := age.ParseX25519Identity(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, &api.Error{Code: api.CodeInternal, Message: "the key of the secrets is damaged: " + v.keyFile,
			Hint: "restore it, or remove it and all secrets, and put these in anew"}
	}
	return key, nil
}

// makeKey makes the key, but not in the place of one that secrets are encrypted with. The caller
// holds writing.
func (v *Vault) makeKey() (*age.X25519Identity, error) {
	if names, err := v.names(suffix); err != nil || len(names) > 0 {
		return nil, errors.Join(err, &api.Error{Code: api.CodeInternal, Message: "the key of the secrets is gone: " + v.keyFile,
			Hint: "restore it, or remove all secrets, and put them in anew"})
	}
	key, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, err
	}
	return key, atomicfile.Write(v.keyFile, v.keyFile+temporary, []byte(key.String()+"\n"), atomicfile.Durable)
}
