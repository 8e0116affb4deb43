package sources

import (
	"errors"
	"slices"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/secrets/vault"
	"openshell-vm/internal/text"
	"openshell-vm/internal/vocab"
)

// A secret has no feed: it is read for each publish, so that nothing keeps its clear text. Who
// changes it publishes the shares that show it.

func isSecret(spec vocab.Source) bool { return spec.Secret != "" }

// withoutSecrets returns the sources that have a feed.
func withoutSecrets(list []vocab.Source) []vocab.Source {
	if !slices.ContainsFunc(list, isSecret) {
		return list
	}
	return slices.DeleteFunc(slices.Clone(list), isSecret)
}

var errNoSecrets = errors.New("the gateway keeps no secrets")

func (s *Sources) readSecret(name string) ([]byte, error) {
	if s.opts.Secrets == nil {
		return nil, errNoSecrets
	}
	return s.opts.Secrets.Read(name)
}

// tryRead returns an error if a source is a secret that can't be read.
func (s *Sources) tryRead(spec vocab.Source) error {
	if !isSecret(spec) {
		return nil
	}
	_, err := s.readSecret(spec.Secret)
	if errors.Is(err, vault.ErrRemoved) {
		return &api.Error{Code: api.CodeConflict, Message: "the secret " + spec.Secret + " is being removed",
			Hint: "choose another one: openshell-vm secret ls lists them"}
	}
	return err
}

// withdrawn reports whether a source is a secret that was removed.
func (s *Sources) withdrawn(spec vocab.Source) bool {
	return isSecret(spec) && s.opts.Secrets != nil && s.opts.Secrets.Removed(spec.Secret)
}

// secret is content for a secret.
func (s *Sources) secret(spec vocab.Source) (files Files, st Known, ok bool) {
	data, err := s.readSecret(spec.Secret)
	if err != nil {
		return nil, Known{Problem: text.Line(err.Error())}, false
	}
	return one(data), Known{Has: true}, true
}

// secretState is State for a secret.
func (s *Sources) secretState(spec vocab.Source) Known {
	if s.opts.Secrets == nil {
		return Known{Problem: errNoSecrets.Error()}
	}
	info, err := s.opts.Secrets.Info(spec.Secret)
	switch {
	case errors.Is(err, vault.ErrRemoved):
		return Known{Problem: "the secret was removed, and is being taken away"}
	case err != nil:
		return Known{Problem: text.Line(err.Error())}
	}
	return Known{Has: true, MadeAt: info.ChangedAt}
}
