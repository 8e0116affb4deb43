// Package githubapp makes tokens of GitHub App installations, which live for an hour, with the
// app's private key.
//
// The key is given by a function that reads it for each token, so that nothing keeps it, and a
// new one is used at once. Nothing but a signature by it, good for nine minutes, leaves the host.
//
// github.com/bradleyfalzon/ghinstallation does not fit. It brings all of go-github for one
// question with two answers, reads answers of any size, follows redirects, and its errors quote
// what a server sent.
package githubapp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"openshell-vm/gateway/sources/ask"
	"openshell-vm/internal/vocab"
)

// The files of a source.
const (
	TokenFile      = "token"
	CredentialFile = "git-credentials" // of git-credential-store's form
)

const (
	usualURL  = "https://github.com"
	mostKey   = 64 << 10
	mostAsked = 500     // repositories of a token, by GitHub's documentation
	most      = 8 << 20 // bytes of an answer: it tells much of each repository
)

// The app's own assertion. GitHub wants it dated back for clocks that differ, and at most ten
// minutes long.
const (
	datedBack = time.Minute
	assertion = 9 * time.Minute
)

var (
	appID      = regexp.MustCompile(`^[A-Za-z0-9._-]{1,100}$`) // a number or a client id
	repository = regexp.MustCompile(`^([A-Za-z0-9-]{1,100}/)?[A-Za-z0-9._-]{1,100}$`)
)

// Check refuses an app that can't be one.
func Check(a vocab.GitHubApp) error {
	if !appID.MatchString(a.App) {
		return fmt.Errorf("%.80q is no app's id or client id", a.App)
	}
	if a.Installation <= 0 {
		return errors.New("the id of the app's installation is missing")
	}
	if len(a.Repositories) > mostAsked {
		return fmt.Errorf("%d repositories are too many for a token: at most %d", len(a.Repositories), mostAsked)
	}
	for _, name := range a.Repositories {
		if !repository.MatchString(name) {
			return fmt.Errorf("%.80q is no repository", name)
		}
	}
	if _, _, err := places(a.URL); err != nil {
		return fmt.Errorf("%.80q can't be used: %w", a.URL, err)
	}
	return nil
}

// places returns where git and where the API of a GitHub is. Each kind of GitHub has its own rule
// for that.
func places(raw string) (git, api *url.URL, err error) {
	if raw == "" {
		raw = usualURL
	}
	u, err := ask.URL(raw)
	if err != nil {
		return nil, nil, err
	}
	if strings.Trim(u.Path, "/") != "" {
		return nil, nil, errors.New("give where people see it, without a path")
	}
	git = &url.URL{Scheme: u.Scheme, Host: strings.TrimPrefix(u.Host, "api.")}
	if git.Host == "github.com" || strings.HasSuffix(git.Host, ".ghe.com") {
		return git, &url.URL{Scheme: u.Scheme, Host: "api." + git.Host}, nil
	}
	git.Host = u.Host
	return git, git.JoinPath("api/v3"), nil // GitHub Enterprise Server
}

// Maker makes the tokens of one installation.
type Maker struct {
	app    vocab.GitHubApp
	read   func(ctx context.Context, path string, most int64) ([]byte, error)
	client *http.Client
}

// New makes a Maker. read reads the key, and refuses one that must not be used.
func New(app vocab.GitHubApp, read func(ctx context.Context, path string, most int64) ([]byte, error)) *Maker {
	return &Maker{app: app, read: read, client: ask.Client(most)}
}

// answer is what matters of GitHub's.
type answer struct {
	Token        string    `json:"token"`
	ExpiresAt    time.Time `json:"expires_at"`
	Repositories []struct {
		FullName string `json:"full_name"`
	} `json:"repositories"`
}

// Make makes a token and returns its files, and when it expires.
func (m *Maker) Make(ctx context.Context) (map[string][]byte, time.Time, error) {
	git, api, err := places(m.app.URL)
	if err != nil {
		return nil, time.Time{}, err
	}
	signed, err := m.sign(ctx)
	if err != nil {
		return nil, time.Time{}, err
	}
	got, err := m.ask(ctx, api, signed)
	if err == nil {
		err = m.judge(got, time.Now())
	}
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("%s: %w", api.Host, err)
	}
	git.User = url.UserPassword("x-access-token", got.Token)
	return map[string][]byte{TokenFile: []byte(got.Token), CredentialFile: []byte(git.String() + "\n")}, got.ExpiresAt, nil
}

// sign makes the app's assertion.
func (m *Maker) sign(ctx context.Context) (string, error) {
	pem, err := m.read(ctx, m.app.Key, mostKey)
	if err != nil {
		return "", err
	}
	key, err := jwt.ParseRSAPrivateKeyFromPEM(pem)
	if err != nil {
		return "", fmt.Errorf("%s is no RSA private key in PEM form", m.app.Key)
	}
	now := time.Now()
	claims := jwt.RegisteredClaims{Issuer: m.app.App,
		IssuedAt: jwt.NewNumericDate(now.Add(-datedBack)), ExpiresAt: jwt.NewNumericDate(now.Add(assertion - datedBack))}
	signed, err := jwt.NewWithClaims(jwt.SigningMethodRS256, claims).SignedString(key)
	if err != nil {
		return "", fmt.Errorf("%s can't sign", m.app.Key)
	}
	return signed, nil
}

func (m *Maker) ask(ctx context.Context, api *url.URL, signed string) (got answer, err error) {
	var wanted struct {
		Repositories []string `json:"repositories,omitempty"` // GitHub takes names without owners
	}
	for _, name := range m.app.Repositories {
		wanted.Repositories = append(wanted.Repositories, name[strings.Index(name, "/")+1:])
	}
	question, err := json.Marshal(wanted)
	if err != nil {
		return got, err
	}
	at := api.JoinPath("app/installations", fmt.Sprint(m.app.Installation), "access_tokens")
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, at.String(), bytes.NewReader(question))
	if err != nil {
		return got, ask.Reason(err)
	}
	r.Header.Set("Authorization", "Bearer "+signed)
	r.Header.Set("Accept", "application/vnd.github+json")
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "openshell-vm")
	r.Header.Set("X-GitHub-Api-Version", "2022-11-28")
	resp, err := m.client.Do(r)
	if err != nil {
		return got, ask.Reason(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		return got, m.refused(resp.StatusCode)
	}
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
		return answer{}, ask.Reason(err)
	}
	return got, nil
}

// refused words GitHub's refusals.
func (m *Maker) refused(status int) error {
	why := ""
	switch status {
	case http.StatusUnauthorized:
		why = ": it does not know the app, or not by this key, or the host's clock is wrong"
	case http.StatusForbidden, http.StatusTooManyRequests:
		why = ": the installation is suspended, or too much was asked"
	case http.StatusNotFound:
		why = fmt.Sprintf(": the app has no installation %d", m.app.Installation)
	case http.StatusUnprocessableEntity:
		why = ": the installation has not all of the repositories"
	}
	return fmt.Errorf("it refuses with HTTP %d%s", status, why)
}

// judge refuses an answer that is not what was asked for.
func (m *Maker) judge(got answer, now time.Time) error {
	if err := ask.Token(got.Token); err != nil {
		return err
	}
	if !got.ExpiresAt.After(now) {
		return errors.New("its token has expired already: the host's clock may be wrong")
	}
	for _, name := range m.app.Repositories {
		isIt := func(r struct {
			FullName string `json:"full_name"`
		}) bool {
			return strings.EqualFold(r.FullName, name)
		}
		if strings.Contains(name, "/") && !slices.ContainsFunc(got.Repositories, isIt) {
			return fmt.Errorf("the installation does not have %s, but one of that name", name)
		}
	}
	return nil
}
