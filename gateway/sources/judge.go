package sources

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/sources/command"
	"openshell-vm/gateway/sources/githubapp"
	"openshell-vm/gateway/state"
	"openshell-vm/internal/contract"
	"openshell-vm/internal/vocab"
	"openshell-vm/share"
)

// Limits of sources.
const (
	MaxSources = 64
	MaxFile    = 1 << 20 // bytes of one file
	MaxAll     = 8 << 20 // bytes of all files of a share that have sources
	MaxNames   = 1000    // of these files
	minEvery   = 10 * time.Second
)

// Complete checks what a user asks for. taken are the names of other files in the share.
func Complete(list []vocab.Source, taken []string) ([]vocab.Source, error) {
	if len(list) > MaxSources {
		return nil, invalid(fmt.Sprintf("at most %d fit", MaxSources), "%d sources are too many for a share", len(list))
	}
	names := append([]string{contract.TokenName, contract.MetadataName}, taken...)
	list = slices.Clone(list)
	for i, s := range list {
		if err := complete(&list[i]); err != nil {
			return nil, err
		}
		if at := slices.IndexFunc(names, func(other string) bool { return share.Clash(s.Name, other) }); at >= 0 {
			return nil, invalid("choose another name: NAME=…",
				"the file name %.80q can't be used: the share has %s already", s.Name, names[at])
		}
		names = append(names, s.Name)
	}
	return list, nil
}

// complete checks one source.
func complete(s *vocab.Source) error {
	err := share.CheckName(s.Name)
	var cause *share.Error
	if errors.As(err, &cause) {
		err = cause.Err
	}
	if err != nil {
		return invalid("choose another name: NAME=…", "the file name %.80q can't be used: %v", s.Name, err)
	}
	if s.Mode&^0o777 != 0 || s.Mode&0o022 != 0 || s.Mode != 0 && s.Mode&0o400 == 0 {
		return invalid("give one such as 0400 or 0444",
			"mode %#o of %s can't be used: its owner has to be able to read it, and nobody else to write it", s.Mode, s.Name)
	}
	if err := mayGive(s.Owner); err != nil {
		return invalid("a gateway of root can; one of a user's only to that user, and to groups of his", "owner of %s: %v", s.Name, err)
	}
	switch {
	case count(s.File != "", len(s.Command) > 0, s.Secret != "", s.GitHubApp != nil, s.OAuth != "") != 1:
		return invalid("name a file, a command, a secret, a GitHub App or an OAuth file", "%s has to have one source", s.Name)
	case isMade(*s):
		return completeMade(s)
	case s.File != "" && (!filepath.IsAbs(s.File) || len(s.File) > 4096):
		return invalid("give the file's absolute path", "%.80q is no absolute path", s.File)
	case s.Secret != "" && state.CheckName(s.Secret) != nil:
		return state.CheckName(s.Secret)
	case s.Secret != "" && (s.Every != 0 || s.Format != ""):
		return invalid("leave every= and format= out", "%s is a secret: it has no every and no format", s.Name)
	case s.File != "" && (s.Every != 0 || s.Format != ""):
		return invalid("leave every= and format= out", "%s is a file, which is followed: it has no every and no format", s.Name)
	case s.Every < 0 || s.Every != 0 && s.Every < minEvery || s.Every > 24*time.Hour:
		return invalid(fmt.Sprintf("give a time between %v and 24h", minEvery), "%s: every=%v can't be used", s.Name, s.Every)
	case s.Format != "" && !slices.Contains(command.Formats(), s.Format):
		return invalid(fmt.Sprintf("formats are %v", command.Formats()), "%s: there is no format %.40q", s.Name, s.Format)
	case len(s.Command) > 0:
		if err := command.Check(s.Command); err != nil {
			return invalid("give a program and its arguments, as a shell would split them", "%s: %v", s.Name, err)
		}
	}
	return nil
}

// completeMade is complete for a source whose files are below its name.
func completeMade(s *vocab.Source) error {
	path := s.OAuth
	if s.GitHubApp != nil {
		if err := githubapp.Check(*s.GitHubApp); err != nil {
			return invalid("openshell-vm run --help shows how --github-app is written", "%s: %v", s.Name, err)
		}
		path = s.GitHubApp.Key
	}
	switch {
	case !filepath.IsAbs(path) || len(path) > 4096:
		return invalid("give the file's absolute path", "%s: %.80q is no absolute path", s.Name, path)
	case s.Every != 0 || s.Format != "":
		return invalid("leave every= and format= out", "%s is renewed before it expires: it has no every and no format", s.Name)
	}
	return nil
}

// count says how many are true.
func count(these ...bool) (n int) {
	for _, is := range these {
		if is {
			n++
		}
	}
	return n
}

// Names returns the names of the files of sources.
func Names(list []vocab.Source) []string {
	names := make([]string, len(list))
	for i, s := range list {
		names[i] = s.Name
	}
	return names
}

// Change returns list with more sources, which replace those of the same name, and without
// others. taken are the names of other files in the share.
func Change(list, set []vocab.Source, drop, taken []string) ([]vocab.Source, error) {
	list = slices.Clone(list)
	remove := func(name string) bool {
		before := len(list)
		list = slices.DeleteFunc(list, func(s vocab.Source) bool { return s.Name == name })
		return len(list) < before
	}
	for _, name := range drop {
		if !remove(name) {
			return nil, &api.Error{Code: api.CodeNotFound, Message: fmt.Sprintf("the share has no source for a file %q", name),
				Hint: "openshell-vm inspect lists its sources"}
		}
	}
	for _, s := range set {
		remove(s.Name)
	}
	return Complete(append(list, set...), taken)
}

func invalid(hint, format string, args ...any) error {
	return &api.Error{Code: api.CodeInvalid, Message: fmt.Sprintf(format, args...), Hint: hint}
}
