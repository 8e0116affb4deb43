package tokens

import (
	"crypto"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"

	"openshell-vm/internal/atomicfile"
	"openshell-vm/internal/plainfile"
)

// state is the content of the state file. The keys of one algorithm are in the order in
// which they succeed each other.
type state struct {
	Format int `json:"format"`
	// Signing is the kid of the key that signs. Only format 1 has it: there all keys are
	// Ed25519 keys, in no order, and no key is published ahead.
	Signing string    `json:"signing,omitempty"`
	Keys    []KeyInfo `json:"keys"`
}

const (
	maxFile    = 256 << 10 // three kinds of maxKeys keys take a third of it
	maxForeign = 5         // foreign names that an error lists
)

// load makes a key directory if it is missing, and reads it. Without keys the ring is
// empty.
func load(dir string) (ring, error) {
	err := os.Mkdir(dir, 0o700)
	if err == nil {
		err = syncDir(filepath.Dir(dir))
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, failed("create the key directory", err)
	}
	if err := private(dir, fs.ModeDir|0o700); err != nil {
		return nil, err
	}
	st, err := readState(dir)
	if err != nil {
		return nil, err
	}
	var r ring
	for _, info := range st.Keys {
		key, err := readKey(dir, info)
		if err != nil {
			return nil, err
		}
		r = append(r, entry{info, key, new(atomic.Int64)})
	}
	return r, nil
}

// save writes next in an order that leaves a usable directory, whenever the process is
// killed:
//  1. write new keys, which nothing refers to yet;
//  2. replace the state file by one rename, which is the commit;
//  3. sweep then deletes the keys that the state no longer names.
func save(dir string, next ring) error {
	st := state{Format: stateFormat}
	for _, e := range next { // 1
		st.Keys = append(st.Keys, e.KeyInfo)
		name := filepath.Join(dir, e.ID+keySuffix)
		if _, err := os.Lstat(name); err == nil {
			continue
		}
		text, err := encodeKey(e.key)
		if err != nil {
			return failed("write a signing key", err)
		}
		if err := writeFile(dir, e.ID+keySuffix, text); err != nil {
			return failed("write a signing key", err)
		}
	}
	text, err := json.MarshalIndent(st, "", "  ")
	if err != nil {
		return failed("write the list of keys", err)
	}
	if err := writeFile(dir, stateName, append(text, '\n')); err != nil { // 2
		return failed("write the list of keys", err)
	}
	return nil
}

// sweep deletes files of ours that r does not name: those of a killed save, and keys whose
// time is over. Its error names what it can't delete, and foreign files, which stay.
func sweep(dir string, r ring) (untidy error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return failed("list the signing keys", err)
	}
	var foreign []string
	for _, f := range list {
		kid, isKey := keyFile(f.Name())
		_, known := r.find(kid)
		switch {
		case isKey && !known || strings.HasPrefix(f.Name(), tmpPrefix):
			if err := os.Remove(filepath.Join(dir, f.Name())); err != nil {
				untidy = errors.Join(untidy, failed("delete an old signing key", err))
			}
		case !isKey && f.Name() != stateName:
			foreign = append(foreign, f.Name())
		}
	}
	if len(foreign) > 0 {
		what := fmt.Errorf("%q in it are not the gateway's and are left alone", foreign[:min(len(foreign), maxForeign)])
		untidy = errors.Join(untidy, failed("tidy "+dir, what))
	}
	return untidy
}

// keyFile reports whether name is that of a key file, and of which key.
func keyFile(name string) (kid string, ok bool) {
	kid, ok = strings.CutSuffix(name, keySuffix)
	raw, err := hex.DecodeString(kid)
	return kid, ok && err == nil && len(raw) == kidSize && kid == strings.ToLower(kid)
}

// readState reads the state file. Without that file and without keys the state is empty. A
// single key without the file signs: a kill during the very first save leaves that.
func readState(dir string) (state, error) {
	name := filepath.Join(dir, stateName)
	text, err := readFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return adopt(dir)
	}
	if err != nil {
		return state{}, err
	}
	var st state
	if err := json.Unmarshal(text, &st); err != nil {
		return state{}, corrupt(name, err)
	}
	switch st.Format {
	case 1:
		err = st.upgrade()
	case stateFormat:
		err = st.check()
	default:
		err = fmt.Errorf("format %d, this program reads up to format %d", st.Format, stateFormat)
	}
	if err != nil {
		return state{}, corrupt(name, err)
	}
	return st, nil
}

// upgrade turns the content of format 1 into the present one: the signing key is the last.
func (st *state) upgrade() error {
	for i := range st.Keys {
		st.Keys[i].Algorithm = EdDSA
	}
	signing := slices.IndexFunc(st.Keys, func(k KeyInfo) bool { return k.ID == st.Signing })
	if signing < 0 {
		return errors.New("the signing key is not in its list")
	}
	last := st.Keys[signing]
	st.Keys = append(slices.Delete(st.Keys, signing, signing+1), last)
	st.Format, st.Signing = stateFormat, ""
	return st.check()
}

// check refuses a list that save does not write.
func (st *state) check() error {
	seen := map[string]bool{}
	for _, k := range st.Keys {
		switch {
		case !validID(k.ID):
			return errors.New("a malformed key id")
		case seen[k.ID]:
			return fmt.Errorf("the key %s twice", k.ID)
		case !slices.Contains(algorithms, k.Algorithm):
			return fmt.Errorf("the unknown algorithm %.20q", string(k.Algorithm))
		}
		seen[k.ID] = true
	}
	return nil
}

// adopt makes up the state for a directory without a state file. It refuses several keys:
// nobody knows which of them signs and which are retired.
func adopt(dir string) (state, error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return state{}, failed("list the signing keys", err)
	}
	var keys []string
	for _, f := range list {
		if _, ok := keyFile(f.Name()); ok {
			keys = append(keys, filepath.Join(dir, f.Name()))
		}
	}
	if len(keys) == 0 {
		return state{}, nil
	}
	if len(keys) > 1 {
		return state{}, corrupt(filepath.Join(dir, stateName), fmt.Errorf("missing, beside %d keys", len(keys)))
	}
	info, err := os.Lstat(keys[0])
	if err != nil {
		return state{}, failed("open the signing keys", err)
	}
	kid := strings.TrimSuffix(filepath.Base(keys[0]), keySuffix)
	return state{Format: stateFormat, Keys: []KeyInfo{{ID: kid, Algorithm: EdDSA, CreatedAt: info.ModTime()}}}, nil
}

func readKey(dir string, info KeyInfo) (crypto.Signer, error) {
	name := filepath.Join(dir, info.ID+keySuffix)
	text, err := readFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, corrupt(name, errors.New("missing, but listed in "+stateName))
	}
	if err != nil {
		return nil, err
	}
	key, a, err := decodeKey(text)
	if err != nil {
		return nil, corrupt(name, err)
	}
	if id, err := keyID(key.Public()); err != nil || id != info.ID {
		return nil, corrupt(name, errors.New("the key does not belong to the file's name"))
	}
	if a != info.Algorithm {
		return nil, corrupt(name, fmt.Errorf("the key is for %s and is listed for %s", a, info.Algorithm))
	}
	return key, nil
}

func encodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: der}), nil
}

// decodeKey decodes a private key. Its errors contain nothing of the text.
func decodeKey(text []byte) (crypto.Signer, Algorithm, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != keyBlock || len(rest) > 0 {
		return nil, "", errors.New("not one PKCS#8 private key in PEM")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, "", errors.New("not a PKCS#8 private key")
	}
	a, err := algorithmOf(parsed)
	if err != nil {
		return nil, "", err
	}
	return parsed.(crypto.Signer), a, nil
}

// readFile reads a file that must be private.
func readFile(name string) ([]byte, error) {
	if err := private(name, 0o600); err != nil {
		return nil, err
	}
	f, err := plainfile.Open(name, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, failed("open the signing keys", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, failed("read the signing keys", err)
	}
	if len(text) > maxFile {
		return nil, corrupt(name, fmt.Errorf("over %d bytes", maxFile))
	}
	return text, nil
}

// private refuses a file or directory that another user could read or change. want is its
// type and the widest mode allowed. The directory is checked first and lets no other user
// in, so nothing changes between this check and the use.
func private(name string, want fs.FileMode) error {
	info, err := os.Lstat(name)
	if err != nil {
		return failed("open the signing keys", err)
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		return denied(fmt.Sprintf("%s is a symbolic link", name), "put the directory or the file itself there")
	case info.Mode().Type() != want.Type():
		return denied(fmt.Sprintf("%s is %v", name, info.Mode()), "move it away")
	case int(owner) != os.Geteuid():
		return denied(fmt.Sprintf("%s belongs to user %d, not to %d", name, owner, os.Geteuid()),
			fmt.Sprintf("chown %d %s, if its content is yours", os.Geteuid(), name))
	case info.Mode().Perm()&^want.Perm() != 0:
		return denied(fmt.Sprintf("%s has mode %#o, at most %#o is allowed", name, info.Mode().Perm(), want.Perm()),
			fmt.Sprintf("chmod %o %s; if others may have read it, rotate the keys", want.Perm(), name))
	}
	return nil
}

// writeFile replaces name in dir by one rename. It is durable when writeFile returns.
func writeFile(dir, name string, text []byte) error {
	return atomicfile.Write(filepath.Join(dir, name), filepath.Join(dir, tmpPrefix+name), text, atomicfile.Durable)
}

// syncDir is a variable so that a test can see it.
var syncDir = atomicfile.SyncDir

func failed(op string, err error) error { return &Error{Op: op, Err: err} }

func denied(what, hint string) error {
	return &Error{Op: "open the signing keys", Err: fmt.Errorf("%s: %w", what, ErrPermissions), Hint: hint}
}

func corrupt(name string, err error) error {
	return &Error{
		Op:   "read " + name,
		Err:  err,
		Hint: "restore the key directory from a backup, or remove it: new keys are made and every token is renewed",
	}
}
