package main

import (
	"bufio"
	"context"
	"encoding/json"
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
	asked := map[string]string{"username": "openshell"}
	lines := bufio.NewScanner(io.LimitReader(c.in, maxAnswer))
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), "=")
		asked[name] = value
	}
	if err := c.permit("git", asked["protocol"], asked["host"]); err != nil {
		return err
	}
	a, err := ask(ctx, c.audience)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.out, "username=%s\npassword=%s\npassword_expiry_utc=%d\n", asked["username"], a.Token, a.expires.Unix())
	return err
}

// notFound is what docker takes for "there is no credential": it goes on without one.
const notFound = "credentials not found in native keychain"

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
	text, err := io.ReadAll(io.LimitReader(c.in, 4096))
	if err != nil {
		return err
	}
	server := strings.TrimSpace(string(text))
	scheme, host := serverOf(server)
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
