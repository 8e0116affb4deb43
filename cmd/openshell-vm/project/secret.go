package project

import (
	"net/url"
	"regexp"
	"strings"

	"openshell-vm/cmd/openshell-vm/say"
)

// A project file is shared with a repository, and env is the classic place in which one leaks. So
// what looks like a secret is refused. It is not shown, as the message may end in a log.

const noSecretHint = "keep it out of the file: " + say.Program + ` secret create NAME, then secret = ["NAME"]; ` +
	`or file = ["NAME=PATH"] for one that lies on this host; env = ["NAME"] takes it from your shell`

// known are the forms of secrets that can be told by themselves.
var known = regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----` +
	`|\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.` + // a JWT
	`|\b(gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,})` +
	`|\b(sk-[A-Za-z0-9_-]{20,}|xox[abeprs]-[A-Za-z0-9-]{10,}|hf_[A-Za-z0-9]{20,}|npm_[A-Za-z0-9]{20,}|dckr_(pat|oat)_[A-Za-z0-9_-]{16,})` +
	`|\b(AKIA|ASIA)[A-Z0-9]{16}\b|\bAIza[A-Za-z0-9_-]{30,}|\bya29\.[A-Za-z0-9_-]{20,}|\bAGE-SECRET-KEY-1[A-Z0-9]{20,}` +
	`|(?i:\bbearer +[A-Za-z0-9._~+/-]{16,})`)

// telling is the end of a variable's name that says that its value is a secret. Names that end in
// _FILE, _URL or _PATH say where one is.
var telling = regexp.MustCompile(`(?i)(^|[_.-])(api|access|private|secret|signing|encryption|auth|master)?[_.-]?` +
	`(token|secret|passw(or)?d|pwd|passphrase|key|credentials?)$`)

// plain are values that are no secret whatever they are called.
var plain = regexp.MustCompile(`^(|true|false|yes|no|none|[0-9]{1,6}|\.{0,2}/.*|~/.*)$`)

// noSecret refuses a setting that looks like one with a secret in it.
func (s setting) noSecret() error {
	switch name, value, assigned := strings.Cut(s.text, "="); {
	case known.MatchString(s.text):
		return say.Errorf(noSecretHint, "%s has what looks like a secret", s.key)
	case hasPassword(s.text) || assigned && hasPassword(value):
		return say.Errorf(noSecretHint, "%s has a URL with a password", s.key)
	case assigned && (s.key == "env" || s.key == "label" || s.key == "claim") && telling.MatchString(name) && !plain.MatchString(value):
		return say.Errorf(noSecretHint, "%s gives %s a value, which looks like a secret", s.key, name)
	}
	return nil
}

func hasPassword(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User == nil {
		return false
	}
	password, has := u.User.Password()
	return has && password != ""
}
