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

// git is a credential helper: https://git-scm.com/docs/gitcredentials. It gives a password for
// each host that git asks for, so its audience has to be one that only that host takes. What git
// wants stored or erased is dropped: each call makes another token.
func git(ctx context.Context, c call) error {
	if len(c.rest) != 1 || c.rest[0] != "get" {
		return nil
	}
	user := "openshell"
	lines := bufio.NewScanner(io.LimitReader(c.in, maxAnswer))
	for lines.Scan() {
		if name, ok := strings.CutPrefix(lines.Text(), "username="); ok {
			user = name
		}
		if lines.Text() == "protocol=http" {
			return fmt.Errorf("git asks for a host without TLS: it gets no token")
		}
	}
	a, err := ask(ctx, c.audience)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.out, "username=%s\npassword=%s\npassword_expiry_utc=%d\n", user, a.Token, a.expires.Unix())
	return err
}

// docker is a credential helper: https://github.com/docker/docker-credential-helpers. Only get
// gives something; there is nothing to store, erase or list.
func docker(ctx context.Context, c call) error {
	switch {
	case len(c.rest) == 1 && c.rest[0] == "list":
		_, err := fmt.Fprintln(c.out, "{}")
		return err
	case len(c.rest) != 1 || c.rest[0] != "get":
		return nil
	}
	server, err := io.ReadAll(io.LimitReader(c.in, 4096))
	if err != nil {
		return err
	}
	a, err := ask(ctx, c.audience)
	if err != nil {
		return err
	}
	return json.NewEncoder(c.out).Encode(map[string]string{
		"ServerURL": strings.TrimSpace(string(server)), "Username": "openshell", "Secret": a.Token})
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
