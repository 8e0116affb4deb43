package lease

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"openshell-vm/internal/contract"
	"openshell-vm/internal/vocab"
	"openshell-vm/share"
	"openshell-vm/tokens"
)

// Token is the source of one token, for one publish. Each generation has tokens of its own,
// which carry the generation's number. Only a token that can't be made is copied from the
// generation before: the others don't wait for it.
type Token struct {
	Issuer  tokens.Issuer
	Request tokens.Request // Generation and Now are set by Files
	File    string
	// Last returns the token in the file as it was published last, and what is known of it; nil
	// if there is none. It is called if no token can be made. Nil for the gateway's own token:
	// without that nothing is published.
	Last func() ([]byte, Issued)

	// Own reads the user's own token for a generation, in place of minting one; nil for none.
	Own func(generation uint64) ([]byte, tokens.Claims, error)

	minted  tokens.Claims
	kept    Issued // in place of minted
	data    []byte // of the user's own
	problem error  // why none was minted
}

// Files mints a token, or reads the user's own.
func (t *Token) Files(generation uint64) (_ []share.File, err error) {
	if t.Own != nil {
		if t.data, t.minted, err = t.Own(generation); err != nil {
			return nil, err
		}
		return []share.File{{Name: t.File, Data: t.data}}, nil
	}
	r := t.Request
	r.Generation, r.Now = generation, time.Now()
	raw, claims, err := t.Issuer.Mint(r)
	t.minted, t.kept, t.problem = claims, Issued{}, nil
	if err == nil {
		return []share.File{{Name: t.File, Data: []byte(raw)}}, nil
	}
	if t.Last == nil {
		return nil, err
	}
	t.problem = fmt.Errorf("%s: %w", t.File, err)
	last, known := t.Last()
	if last == nil {
		return []share.File{}, t.problem
	}
	t.kept = known
	return []share.File{{Name: t.File, Data: last}}, t.problem
}

// Due returns when the token that was minted last is to be renewed; zero if none was, or if it
// is the user's own.
func (t *Token) Due() time.Time {
	if t.Own != nil || t.minted.IssuedAt.IsZero() {
		return time.Time{}
	}
	return tokens.RenewAt(t.minted.IssuedAt, t.Request.TTL, t.Request.SandboxID)
}

// Minted returns the claims of the token that was minted last; zero if none was.
func (t *Token) Minted() tokens.Claims { return t.minted }

// issued is what is known of the token in the file; false if it has none.
func (t *Token) issued() (Issued, bool) {
	if t.problem != nil {
		return t.kept, t.kept.File != ""
	}
	return issuedAs(t.File, t.Request.TTL, t.minted), true
}

// tokensOf returns the sources of a lease's tokens. The first is that for the gateway.
func (k *Keeper) tokensOf(l *Lease) []*Token {
	ttl, asked := l.holder.TTL(), l.holder.Tokens()
	issuer := k.Issuer() // the same for all
	all := []*Token{{Issuer: issuer, File: contract.TokenName, Own: followed{k}.own(l, asked.Mode),
		Request: tokens.Request{SandboxID: l.id, TTL: ttl}}}
	about := tokens.About{}
	if len(asked.Files) > 0 {
		about = l.holder.About()
	}
	for _, f := range asked.Files {
		all = append(all, &Token{Issuer: issuer, File: f.File, Request: tokens.Request{
			SandboxID: l.id, TTL: lifetime(f, ttl), Audience: f.Audience, Algorithm: tokens.Algorithm(f.Algorithm),
			Identity: asked.Identity, NoID: f.NoID, About: about, Claims: asked.Claims,
		}, Last: func() ([]byte, Issued) { return l.last(k, f) }})
	}
	return all
}

// lifetime returns a token's own lifetime, or that of the token for the gateway.
func lifetime(f vocab.TokenFile, gateway time.Duration) time.Duration {
	if f.TTL != 0 {
		return f.TTL
	}
	return gateway
}

// Metadata is the source of the file that describes the tokens of a generation. It comes
// after their sources.
type Metadata struct {
	Tokens  []*Token // that for the gateway first
	Sources []contract.SourceMetadata
}

// Files describes what was minted last.
func (m *Metadata) Files(uint64) ([]share.File, error) {
	first := m.Tokens[0]
	metadata := contract.Metadata{
		Generation: first.minted.Generation, IssuedAt: first.minted.IssuedAt.UTC(), ExpiresAt: first.minted.ExpiresAt.UTC(),
		RenewAt: first.Due().UTC(), Gateway: first.Issuer.GatewayID, AuthMode: vocab.ManagedFile, Sources: m.Sources}
	if first.Own != nil { // when its user replaces it is not known
		metadata.AuthMode, metadata.RenewAt = vocab.StaticToken, metadata.ExpiresAt
	}
	for _, t := range m.Tokens[1:] {
		if i, there := t.issued(); there {
			metadata.Tokens = append(metadata.Tokens, contract.TokenMetadata{File: i.File, Audience: i.Audience, Algorithm: i.Algorithm,
				IssuedAt: i.IssuedAt.UTC(), ExpiresAt: i.ExpiresAt.UTC(), RenewAt: i.RenewAt.UTC()})
		}
	}
	data, err := json.Marshal(metadata)
	if err != nil {
		return nil, err
	}
	return []share.File{{Name: contract.MetadataName, Data: append(data, '\n')}}, nil
}

// Due returns zero: the tokens are due, and not what describes them.
func (m *Metadata) Due() time.Time { return time.Time{} }

// Held is what was read in a share.
type Held struct {
	Claims     tokens.Claims // if the token for the gateway verifies
	Generation uint64
	Revoked    bool // the key that signed the token is not valid any more, or its user revoked it
	// Files are the tokens for other audiences that are there and verify, in the order of the
	// record.
	Files []Issued
	// Differs means that the share has not the tokens and files that it should have: one is missing, is
	// not good any more, or is left of a record that was changed.
	Differs bool
	// Metadata is set if the token for the gateway has expired or was revoked, so that its
	// times can be shown. Nothing in it is verified.
	Metadata contract.Metadata
	// Own is the user's own token, if the lease has one.
	Own []byte

	all map[string][]byte // all files that the share has
}

// due returns when the first of the tokens is to be renewed; zero for now.
func (h Held) due(now time.Time, ttl time.Duration) (first time.Time) {
	if h.Differs || now.Before(h.Claims.IssuedAt) { // the clock was set back: their age is unknown
		return time.Time{}
	}
	first = renewAt(h.Claims, ttl)
	for _, t := range h.Files {
		if t.RenewAt.Before(first) {
			first = t.RenewAt
		}
	}
	return first
}

// wanted are the tokens that a share should have.
type wanted struct {
	sandboxID string
	ttl       time.Duration     // of the token for the gateway
	files     []vocab.TokenFile // the others
	static    bool              // the token for the gateway is the user's own
}

func (l *Lease) wanted() wanted {
	asked := l.holder.Tokens()
	return wanted{l.id, l.holder.TTL(), asked.Files, asked.Mode == vocab.StaticToken}
}

// read reads the tokens in a share's auth directory. It verifies them, and that their sandbox
// is the wanted one and their number that of the generation they are in. With an error it also
// returns what could be read; the error is about the token for the gateway.
func (w wanted) read(auth string, verifier tokens.Verifier, now time.Time) (held Held, err error) {
	content, err := share.Read(auth)
	if err != nil {
		return held, err
	}
	held.Generation, held.all = content.Generation, content.Files
	verifier.Exists = func(string) bool { return true } // the sandbox exists, but may not be known yet
	check := func(file, audience string) (tokens.Claims, error) {
		v := verifier
		if audience != "" {
			v.Audiences = []string{audience}
		}
		claims, err := v.Verify(string(content.Files[file]), now)
		if err == nil && (claims.SandboxID != w.sandboxID || claims.Generation != content.Generation) {
			err = errors.New("the share holds the token of another sandbox or another generation")
		}
		return claims, err
	}
	_ = json.Unmarshal(content.Files[contract.MetadataName], &held.Metadata) // an older gateway's says less
	held.Differs = len(held.Metadata.Tokens) != len(w.files)
	for _, f := range w.files {
		claims, err := check(f.File, f.Audience)
		if err != nil || string(claims.Algorithm) != f.Algorithm || f.NoID != (claims.TokenID == "") || !held.names(f) {
			held.Differs = true
			continue
		}
		held.Files = append(held.Files, issuedAs(f.File, lifetime(f, w.ttl), claims))
	}
	if w.static {
		held.Own = content.Files[contract.TokenName]
		shape, err := tokens.ShapeOf(held.Own)
		held.Claims = tokens.Claims{SandboxID: w.sandboxID, Generation: content.Generation, TokenID: shape.TokenID,
			IssuedAt: shape.IssuedAt, ExpiresAt: shape.ExpiresAt}
		return held, err
	}
	held.Claims, err = check(contract.TokenName, "")
	held.Revoked = errors.Is(err, tokens.ErrUnknownKey) || errors.Is(err, tokens.ErrRevoked)
	if !held.Revoked && !errors.Is(err, tokens.ErrExpired) {
		held.Metadata = contract.Metadata{} // it is only to show the times of what is over
	}
	return held, err
}

// names reports whether the metadata has this file.
func (h Held) names(f vocab.TokenFile) bool {
	return slices.ContainsFunc(h.Metadata.Tokens, func(t contract.TokenMetadata) bool { return t.File == f.File })
}
