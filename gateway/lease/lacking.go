package lease

import (
	"cmp"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"openshell-vm/internal/contract"
	"openshell-vm/internal/vocab"
	"openshell-vm/share"
)

// Tokens for other audiences that can't be made, for which the others don't wait.

// Lacks returns why the last publish could not make a token for one of the files; nil if it
// could, or if that is not known.
func (l *Lease) Lacks(files ...vocab.TokenFile) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range files {
		if slices.Contains(l.renewal.Lacking, f.File) {
			return errors.New(l.renewal.LastError)
		}
	}
	return nil
}

// last returns the token that a share has in a file, if it is one for that audience, and what is
// known of it: from its metadata, and its key and id if this process has noted them.
func (l *Lease) last(k *Keeper, f vocab.TokenFile) ([]byte, Issued) {
	content, err := share.Read(l.Share().AuthDir())
	data, there := content.Files[f.File]
	if err != nil || !there || !k.Superseded(l.id, f.File, data) {
		return nil, Issued{}
	}
	known := Issued{File: f.File, Audience: f.Audience, Algorithm: f.Algorithm}
	var metadata contract.Metadata
	_ = json.Unmarshal(content.Files[contract.MetadataName], &metadata) // else its times are not known
	for _, t := range described(metadata) {
		if t.File == f.File {
			known = t
		}
	}
	r, _ := l.Renewal()
	for _, t := range r.Files {
		if t.File == f.File && t.IssuedAt.Equal(known.IssuedAt) {
			known = t
		}
	}
	return data, known
}

// lacks returns the files whose tokens could not be made, and why not the first of them.
func (c *Content) lacks() (files []string, why error) {
	for _, t := range c.tokens {
		if t.problem != nil {
			files, why = append(files, t.File), cmp.Or(why, t.problem)
		}
	}
	return files, why
}

// onlyFor reports whether a share is as good as it can be without these tokens: it lacked them
// before, and has all others, which are not due.
func (l *Lease) onlyFor(k *Keeper, lacking []string) bool {
	now, wants := time.Now(), l.holder.Tokens().Files
	r, _ := l.Renewal()
	if k.renamed(r) || !k.opts.Keys.Signs(r.KeyID, now) || !now.Before(r.RenewAt) {
		return false
	}
	has := slices.Clone(lacking)
	for _, t := range r.Files {
		wanted := slices.ContainsFunc(wants, func(f vocab.TokenFile) bool { return f.File == t.File })
		if lost := slices.Contains(lacking, t.File); !wanted || !lost && (!now.Before(t.RenewAt) || !k.opts.Keys.Signs(t.KeyID, now)) {
			return false
		}
		has = append(has, t.File)
	}
	absent := func(f vocab.TokenFile) bool { return !slices.Contains(has, f.File) }
	missed := func(file string) bool { return !slices.Contains(r.Lacking, file) }
	return !slices.ContainsFunc(wants, absent) && !slices.ContainsFunc(lacking, missed)
}

// nothingNew reports whether the share has all that was built beside the tokens and what
// describes them, and no more.
func (c *Content) nothingNew(auth string) bool {
	has, err := share.Read(auth)
	if err != nil {
		return false
	}
	delete(has.Files, contract.MetadataName)
	for _, t := range c.tokens {
		delete(has.Files, t.File)
	}
	for _, f := range c.files {
		ours := f.Name == contract.MetadataName || slices.ContainsFunc(c.tokens, func(t *Token) bool { return t.File == f.Name })
		if data, there := has.Files[f.Name]; !ours && (!there || string(data) != string(f.Data)) {
			return false
		}
		delete(has.Files, f.Name)
	}
	return len(has.Files) == 0
}
