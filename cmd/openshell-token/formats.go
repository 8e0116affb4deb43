package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

func plain(ctx context.Context, c call) error {
	a, err := ask(ctx, c.audience)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.out, a.Token)
	return err
}

func asJSON(ctx context.Context, c call) error {
	a, err := ask(ctx, c.audience)
	if err != nil {
		return err
	}
	return json.NewEncoder(c.out).Encode(map[string]any{
		"token": a.Token, "expiresIn": a.ExpiresIn, "expiresAt": a.expires.UTC().Format(time.RFC3339)})
}

// git is a credential helper: https://git-scm.com/docs/gitcredentials. It gives a token for one
// host only, as git asks for whatever host a repository names. What git wants stored or erased is
// dropped: each call makes another token.
func git(ctx context.Context, c call) error {
	if len(c.rest) != 1 || c.rest[0] != "get" {
		return nil
	}
	asked, err := gitAsks(c.in)
	if err != nil {
		return err
	}
	if err := c.permit("git", asked["protocol"], asked["host"]); err != nil {
		return err
	}
	a, err := ask(ctx, c.audience)
	if err != nil {
		return err
	}
	user := cmp.Or(asked["username"], "openshell")
	_, err = fmt.Fprintf(c.out, "username=%s\npassword=%s\npassword_expiry_utc=%d\n", user, a.Token, a.expires.Unix())
	return err
}

// gitAsks reads what git says of whom it wants a password for. A server has written a part of it.
func gitAsks(in io.Reader) (map[string]string, error) {
	text, err := io.ReadAll(io.LimitReader(in, maxAnswer+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxAnswer || bytes.ContainsAny(text, "\x00\r") {
		return nil, errors.New("what git asks for can't be read: it gets no token")
	}
	asked := map[string]string{}
	for said := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSuffix(said, "\n"), "=")
		if _, twice := asked[name]; twice && !strings.HasSuffix(name, "[]") {
			return nil, fmt.Errorf("git gives %.40q more than once: it gets no token", name)
		}
		asked[name] = value
	}
	return asked, nil
}

// notFound is what docker takes for "there is no credential": it goes on without one.
const notFound = "credentials not found in native keychain"

// maxServer bounds what docker calls a server, in bytes.
const maxServer = 4096

// docker is a credential helper: https://github.com/docker/docker-credential-helpers. Only get
// gives something, for one host only; there is nothing to store, erase or list.
func docker(ctx context.Context, c call) error {
	switch {
	case len(c.rest) == 1 && c.rest[0] == "list":
		_, err := fmt.Fprintln(c.out, "{}")
		return err
	case len(c.rest) != 1 || c.rest[0] != "get":
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(c.in, maxServer+1))
	if err != nil {
		return err
	}
	server := strings.TrimSpace(string(text))
	scheme, host := serverOf(server)
	if len(text) > maxServer {
		scheme, host = "", ""
	}
	if err := c.permit("docker", scheme, host); err != nil {
		fmt.Fprintln(c.out, notFound)
		return err
	}
	a, err := ask(ctx, c.audience)
	if err != nil {
		return err
	}
	return json.NewEncoder(c.out).Encode(map[string]string{"ServerURL": server, "Username": "openshell", "Secret": a.Token})
}

// kubernetes is a client-go credential plugin:
// https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins.
func kubernetes(ctx context.Context, c call) error {
	a, err := ask(ctx, c.audience)
	if err != nil {
		return err
	}
	return json.NewEncoder(c.out).Encode(map[string]any{
		"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
		"status": map[string]string{"token": a.Token, "expirationTimestamp": a.expires.UTC().Format(time.RFC3339)}})
}
