// Package vault keeps named secrets on disk, each in a file that is encrypted with age.
//
// A secret is <dir>/NAME.age. In it is a line of JSON with the name and when it was made, and
// then what its user gave. The key is a file of its own, outside of that directory. It is made
// when the first secret is. NAME.gone marks a secret that was removed, until nothing shows it
// any more.
//
// What it promises: a secret is replaced as a whole, also if the process is killed or the disk
// is full. No error has any of a secret or of the key. What was taken for another name is not
// believed. The clear text is in memory only during a call.
//
// What it does not promise: whoever can read both the directory and the key reads the secrets.
// Memory is not wiped, and blocks of the disk neither.
package vault

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"filippo.io/age"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/state"
	"openshell-vm/internal/atomicfile"
	"openshell-vm/internal/plainfile"
)

// MaxSecrets bounds how many secrets there are.
const MaxSecrets = 512

const (
	suffix     = ".age"
	goneSuffix = ".gone"
	temporary  = ".new"
	maxHeader  = 1 << 10                              // bytes of the line before the content
	maxFile    = api.MaxSecretSize + maxHeader + 4096 // bytes: age adds less than that
)

// ErrRemoved means that the secret was removed, and is being taken out of shares.
var ErrRemoved = errors.New("the secret was removed")

// Info is what is known of a secret without its content.
type Info struct {
	Name      string
	Size      int64 // bytes
	CreatedAt time.Time
	ChangedAt time.Time
}

// header is the first line in a secret's file.
type header struct {
	Name      string    `json:"name"`
	CreatedAt time.Time `json:"createdAt"`
	ChangedAt time.Time `json:"changedAt"`
}

// Vault is the secrets of one state directory. It is safe for concurrent use. One process at a
// time has it open.
type Vault struct {
	dir, keyFile string

	writing sync.Mutex // held by whoever changes the directory

	mu      sync.Mutex // a leaf; guards the rest
	known   map[string]Info
	removed map[string]bool // those with a mark
}

// Open reads which secrets are marked as removed. It makes nothing on disk.
func Open(dir, keyFile string) (*Vault, error) {
	v := &Vault{dir: dir, keyFile: keyFile, known: map[string]Info{}, removed: map[string]bool{}}
	marks, err := v.names(goneSuffix)
	for _, name := range marks {
		v.removed[name] = true
	}
	return v, err
}

// names returns the names of all files with a suffix, sorted. No directory is one without any.
func (v *Vault) names(suffix string) (names []string, err error) {
	entries, err := os.ReadDir(v.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), suffix); ok && state.CheckName(name) == nil {
			names = append(names, name)
		}
	}
	return names, nil
}

func (v *Vault) path(name string) string { return filepath.Join(v.dir, name+suffix) }
func (v *Vault) mark(name string) string { return filepath.Join(v.dir, name+goneSuffix) }

// Names returns the names of all secrets, sorted.
func (v *Vault) Names() ([]string, error) {
	names, err := v.names(suffix)
	return slices.DeleteFunc(names, v.Removed), err
}

// Read returns a secret's content. The error is ErrRemoved if it was removed and shares may
// still have it, and an *api.Error that says CodeNotFound if there is none.
func (v *Vault) Read(name string) ([]byte, error) {
	f, head, size, err := v.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data := make([]byte, size)
	if _, err := io.ReadFull(f.content, data); err != nil {
		v.forget(name) // what was known is not so any more
		return nil, damaged(name)
	}
	v.note(head, size)
	return data, nil
}

// Info returns what is known of a secret. Once that was read, it looks at no file.
func (v *Vault) Info(name string) (Info, error) {
	v.mu.Lock()
	info, ok := v.known[name]
	v.mu.Unlock()
	if ok {
		return info, nil
	}
	f, head, size, err := v.open(name)
	if err != nil {
		return Info{Name: name}, err
	}
	defer f.Close()
	return v.note(head, size), nil
}

// note keeps what was read.
func (v *Vault) note(head header, size int64) Info {
	info := Info{Name: head.Name, Size: size, CreatedAt: head.CreatedAt, ChangedAt: head.ChangedAt}
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.removed[head.Name] && !head.ChangedAt.Before(v.known[head.Name].ChangedAt) {
		v.known[head.Name] = info
	}
	return info
}

func (v *Vault) forget(name string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.known, name)
}

// opened is a secret's file, and what is in it after the header.
type opened struct {
	*os.File
	content io.Reader
}

// open opens a secret and reads its header. size is that of the content.
func (v *Vault) open(name string) (f opened, head header, size int64, err error) {
	if state.CheckName(name) != nil {
		return f, head, 0, missing(name)
	}
	if v.Removed(name) {
		return f, head, 0, ErrRemoved
	}
	f.File, err = plainfile.Open(v.path(name), os.O_RDONLY, 0)
	if err != nil {
		v.forget(name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return f, head, 0, missing(name)
	} else if err != nil {
		return f, head, 0, err
	}
	if head, size, err = v.begin(&f, name); err != nil {
		v.forget(name)
		f.Close()
	}
	return f, head, size, err
}

// begin decrypts the header.
func (v *Vault) begin(f *opened, name string) (head header, size int64, err error) {
	key, err := v.key()
	if err != nil {
		return head, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return head, 0, err
	}
	if info.Size() > maxFile {
		return head, 0, damaged(name)
	}
	clear, total, err := age.DecryptReaderAt(f.File, info.Size(), key)
	if err != nil {
		return head, 0, damaged(name)
	}
	lines := bufio.NewReaderSize(io.NewSectionReader(clear, 0, total), maxHeader)
	line, err := lines.ReadSlice('\n')
	if err != nil || json.Unmarshal(line, &head) != nil || head.Name != name {
		return head, 0, damaged(name)
	}
	f.content = lines
	return head, total - int64(len(line)), nil
}

// Write makes a secret, or replaces the content of the one that there is. After an error the
// old one is as it was.
func (v *Vault) Write(name string, data []byte, isNew bool) error {
	if err := state.CheckName(name); err != nil {
		return err
	}
	v.writing.Lock()
	defer v.writing.Unlock()
	head, err := v.next(name, isNew)
	if err != nil {
		return err
	}
	key, err := v.key()
	if errors.Is(err, fs.ErrNotExist) {
		key, err = v.makeKey()
	}
	if err == nil {
		err = state.MakeDir(v.dir)
	}
	if err != nil {
		return err
	}
	line, err := json.Marshal(head)
	if err != nil {
		return err
	}
	sealed, err := seal(key, append(line, '\n'), data)
	if err != nil {
		return err
	}
	if err := atomicfile.Write(v.path(name), filepath.Join(v.dir, temporary), sealed, atomicfile.Durable); err != nil {
		return err
	}
	v.note(head, int64(len(data)))
	return nil
}

// next judges a write, and returns the header that it is to have.
func (v *Vault) next(name string, isNew bool) (head header, err error) {
	now := time.Now().UTC().Round(0)
	head = header{Name: name, CreatedAt: now, ChangedAt: now}
	if v.Removed(name) {
		return head, &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("the secret %s is still being removed from shares", name),
			Hint: "try again soon; openshell-vm doctor and the gateway's log say what holds it up"}
	}
	names, err := v.names(suffix)
	if err != nil {
		return head, err
	}
	there := slices.Contains(names, name)
	switch {
	case there && isNew:
		return head, &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("there is a secret %s already", name),
			Hint: "openshell-vm secret set " + name + " replaces what is in it"}
	case !there && !isNew:
		return head, missing(name)
	case !there && len(names) >= MaxSecrets:
		return head, &api.Error{Code: api.CodeInvalid, Message: fmt.Sprintf("there are %d secrets already: that is the limit", len(names)),
			Hint: "remove one first: openshell-vm secret ls shows which nobody uses"}
	}
	if old, err := v.Info(name); there && err == nil { // one that can't be read can be replaced
		head.CreatedAt = old.CreatedAt
	}
	return head, nil
}

func seal(key *age.X25519Identity, parts ...[]byte) ([]byte, error) {
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, key.Recipient())
	if err != nil {
		return nil, err
	}
	for _, part := range parts {
		if _, err := w.Write(part); err != nil {
			return nil, err
		}
	}
	err = w.Close() // it writes what is left
	return sealed.Bytes(), err
}

// Remove deletes a secret, and marks it as removed until Forget. From then on Read returns
// ErrRemoved.
func (v *Vault) Remove(name string) error {
	v.writing.Lock()
	defer v.writing.Unlock()
	if _, err := os.Lstat(v.path(name)); state.CheckName(name) != nil || errors.Is(err, fs.ErrNotExist) {
		return missing(name)
	}
	if err := atomicfile.Write(v.mark(name), filepath.Join(v.dir, temporary), nil, atomicfile.Durable); err != nil {
		return err
	}
	v.mu.Lock()
	v.removed[name] = true
	delete(v.known, name)
	v.mu.Unlock()
	return v.erase(name)
}

// erase deletes the file of a secret that has a mark.
func (v *Vault) erase(name string) error {
	if err := os.Remove(v.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return atomicfile.SyncDir(v.dir)
}

// Removed reports whether a secret was removed and is not forgotten.
func (v *Vault) Removed(name string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.removed[name]
}

// AllRemoved returns the secrets that were removed and are not forgotten, sorted.
func (v *Vault) AllRemoved() (names []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for name := range v.removed {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Forget takes the mark of a removed secret away, because nothing shows the secret any more.
func (v *Vault) Forget(name string) error {
	v.writing.Lock()
	defer v.writing.Unlock()
	if err := v.erase(name); err != nil { // a killed gateway may have left it
		return err
	}
	if err := os.Remove(v.mark(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.removed, name)
	return nil
}

func missing(name string) error {
	return &api.Error{Code: api.CodeNotFound, Message: fmt.Sprintf("there is no secret %.80q", name),
		Hint: "openshell-vm secret ls lists them, openshell-vm secret create NAME makes one"}
}

func damaged(name string) error {
	return &api.Error{Code: api.CodeInternal, Message: fmt.Sprintf("the secret %s can't be decrypted", name),
		Hint: "its file is damaged, or of another key: openshell-vm secret set " + name + " puts it in anew"}
}
