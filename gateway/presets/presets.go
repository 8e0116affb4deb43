// Package presets knows what the SDKs of some providers read in place of a static key: which
// audience the provider expects, where the token's file is named, and what else the SDK needs.
// Each provider is a row of a table, in a file of its own, with the pages that say so. What no
// page of the provider says is not in it.
//
// Nothing here is secret: a role, a rule or a tenant names something, and grants nothing.
package presets

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/internal/contract"
	"openshell-vm/internal/vocab"
)

// A preset is one provider.
type preset struct {
	name     string
	form     string   // of the parameter, as a user writes it
	pages    []string // what the provider documents
	audience string   // what it expects as aud
	file     string
	alg      string        // "" for the default
	ttl      time.Duration // 0 for that of sandbox.jwt
	noID     bool          // it takes each jti once, so there must be none

	// check refuses a parameter that is not of the form.
	check func(parameter string) bool
	// audienceOf makes the audience of the parameter; nil for a provider with one audience.
	audienceOf func(parameter string) string
	// env returns K=V of what the SDK reads. file is the token's path in the sandbox.
	env func(parameter, file string) []string
	// files returns what is published beside the token, in a share at dir; nil for nothing.
	files func(f vocab.TokenFile, dir string) []File
}

// maxParameter bounds a parameter, in bytes.
const maxParameter = 512

// File is one that a preset adds to a share. It holds no secret.
type File struct {
	Name string
	Data []byte
}

// table has all presets, in the order of api.TokenPresets.
var table = []preset{anthropic, openai, aws, gcp, azure}

// find returns nil for a name that no preset has.
func find(name string) *preset {
	i := slices.IndexFunc(table, func(p preset) bool { return p.name == name })
	if i < 0 {
		return nil
	}
	return &table[i]
}

// Expand fills in what f's preset says and f leaves out. A file without a preset stays as it
// is.
func Expand(f vocab.TokenFile) (vocab.TokenFile, error) {
	if f.Preset == "" {
		return f, nil
	}
	p := find(f.Preset)
	if p == nil {
		return f, invalid("use one of "+strings.Join(api.TokenPresets, ", "), "there is no preset %q", f.Preset)
	}
	if len(f.Parameter) > maxParameter || !p.check(f.Parameter) {
		return f, invalid("write "+p.name+":"+p.form+"; "+p.pages[0]+" says what that is", "%s:%.80s is malformed", p.name, f.Parameter)
	}
	audience := p.audience
	if p.audienceOf != nil {
		audience = p.audienceOf(f.Parameter)
	}
	f.Audience = cmp.Or(f.Audience, audience)
	f.File = cmp.Or(f.File, p.file)
	f.Algorithm = cmp.Or(f.Algorithm, p.alg)
	f.TTL = cmp.Or(f.TTL, p.ttl)
	f.NoID = f.NoID || p.noID
	return f, nil
}

// Env returns K=V of what the SDKs of all presets in t read, in a sandbox that sees the share at
// dir. The user's own variables come before them.
func Env(t vocab.Tokens, dir string) (env []string) {
	for _, f := range t.Files {
		if p := find(f.Preset); p != nil {
			env = append(env, p.env(f.Parameter, dir+"/"+f.File)...)
		}
	}
	return env
}

// Files returns what f's preset publishes beside the token, for who sees the share at dir.
func Files(f vocab.TokenFile, dir string) []File {
	if p := find(f.Preset); p != nil && p.files != nil {
		return p.files(f, dir)
	}
	return nil
}

// Left reports whether a file is what some preset made for the token in another file. A user's
// file of the same name is not, unless it names that token's file as well.
func Left(name string, data []byte, token string) bool {
	f := vocab.TokenFile{File: token}
	names := bytes.Contains(data, []byte("/"+token+`"`)) // wherever the share was seen
	return names && slices.ContainsFunc(table, func(p preset) bool {
		f.Preset = p.name
		return slices.ContainsFunc(Files(f, contract.AuthDir), func(made File) bool { return made.Name == name })
	})
}

// Pages returns the pages of the providers from which a preset is made, the first one for
// users.
func Pages(name string) []string {
	if p := find(name); p != nil {
		return p.pages
	}
	return nil
}

// parts splits a parameter at its slashes. ok is false unless there are between least and
// most parts, and each is a word: what a provider's ids consist of.
func parts(parameter string, least, most int) (list []string, ok bool) {
	list = strings.Split(parameter, "/")
	if len(list) < least || len(list) > most {
		return nil, false
	}
	return list, !slices.ContainsFunc(list, func(s string) bool { return !isWord(s, "-_.") })
}

// isWord reports whether s consists of letters, digits and the further characters, and is not
// empty.
func isWord(s, further string) bool {
	for _, c := range []byte(s) {
		alphanumeric := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alphanumeric && strings.IndexByte(further, c) < 0 {
			return false
		}
	}
	return s != ""
}

func invalid(hint, format string, args ...any) error {
	return &api.Error{Code: api.CodeInvalid, Message: fmt.Sprintf(format, args...), Hint: hint}
}
