package audience

import (
	"errors"
	"iter"
	"net/url"
	"slices"
	"strings"

	"openshell-vm/gateway/presets"
	"openshell-vm/internal/contract"
	"openshell-vm/internal/vocab"
	"openshell-vm/share"
)

// suffix ends the name of a file that was not named.
const suffix = ".jwt"

// fileOf makes a file name of an audience: of a URL its host, of anything else its letters,
// digits, '.', '_' and '-', with a '-' in place of the others. It is "" if nothing is left.
func fileOf(audience string) string {
	name := audience
	if u, err := url.Parse(audience); err == nil && u.Hostname() != "" {
		name = u.Hostname()
	}
	var made strings.Builder
	for _, c := range name {
		if c < 0x80 && isWord("x"+string(c), "_.") {
			made.WriteRune(c)
		} else if !strings.HasSuffix(made.String(), "-") {
			made.WriteByte('-')
		}
	}
	name = strings.Trim(made.String(), "-.")
	if name == "" {
		return ""
	}
	return strings.TrimSuffix(name[:min(len(name), 100)], suffix) + suffix
}

// Names returns the names of all files that t puts into a share: the tokens', and those of
// presets.
func Names(t vocab.Tokens) (names []string) {
	for _, f := range t.Files {
		names = append(names, f.File)
		for _, further := range presets.Files(f, contract.AuthDir) {
			names = append(names, further.Name)
		}
	}
	return names
}

// checkNames refuses names that can't be published, or that two files have.
func checkNames(t vocab.Tokens) error {
	names := Names(t)
	for i, name := range names {
		err := share.CheckName(name)
		var cause *share.Error
		if errors.As(err, &cause) {
			err = cause.Err
		}
		if share.Clash(name, contract.TokenName) || share.Clash(name, contract.MetadataName) {
			err = errors.New("the gateway writes it")
		}
		if err == nil && slices.ContainsFunc(names[:i], func(other string) bool { return share.Clash(name, other) }) {
			err = errors.New("another token has it")
		}
		if err != nil {
			return invalid("give the token a name of its own: AUDIENCE,file=NAME", "the file name %.80q can't be used: %v", name, err)
		}
	}
	return nil
}

// CheckBeside refuses a name of t that can't be beside those of the user's files.
func CheckBeside(t vocab.Tokens, files iter.Seq[string]) error {
	for file := range files {
		for _, name := range Names(t) {
			if !share.Clash(name, file) {
				continue
			}
			return invalid("give the token another name: AUDIENCE,file=NAME; or take that file away: "+
				"openshell-vm share put SHARE --remove "+file,
				"the share has a file %q already", file)
		}
	}
	return nil
}
