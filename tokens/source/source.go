// Package source gives a sandbox's programs their token as it is now: for HTTP, gRPC and whatever
// takes an oauth2.TokenSource.
//
// The file is read each time. That is one open and a kilobyte, and no copy can go stale: the file is
// whole and unexpired whenever it is opened while the gateway runs. A request that a server answers
// with 401 is sent once more if the file has another token by then, as after a rotation.
//
// It imports nothing else of this module, and verifies nothing: whoever is given the token does.
package source

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/oauth2"
)

// Env is the variable that names the file of a sandbox's own token, and UsualFile where it is if
// the variable is not set.
const (
	Env       = "OPENSHELL_SANDBOX_TOKEN_FILE"
	UsualFile = "/etc/openshell/auth/sandbox.jwt"
)

// maxToken bounds what is read, in bytes.
const maxToken = 64 << 10

// ErrEmpty means that the file holds nothing.
var ErrEmpty = errors.New("the token's file is empty")

// File is a token's file, such as /etc/openshell/auth/api.example.com.jwt. "" is the sandbox's own:
// see Env. It is safe for concurrent use.
type File string

func (f File) path() string {
	switch name := os.Getenv(Env); {
	case f != "":
		return string(f)
	case name != "":
		return name
	}
	return UsualFile
}

// Read returns the token. Its errors hold nothing of it.
func (f File) Read() (string, error) {
	file, err := os.Open(f.path())
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxToken))
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" {
		return "", ErrEmpty
	}
	return token, nil
}

// Token implements oauth2.TokenSource. The expiry is what the token says. Don't wrap a File in
// oauth2.ReuseTokenSource: that keeps a token until it expires, also one whose key was rotated out.
func (f File) Token() (*oauth2.Token, error) {
	raw, err := f.Read()
	if err != nil {
		return nil, err
	}
	return &oauth2.Token{AccessToken: raw, TokenType: "Bearer", Expiry: expiry(raw)}, nil
}

// expiry returns a JWT's exp, unverified; zero if there is none.
func expiry(raw string) time.Time {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	var claims struct {
		Expires int64 `json:"exp"`
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(text, &claims) != nil || claims.Expires <= 0 {
		return time.Time{}
	}
	return time.Unix(claims.Expires, 0)
}

// GetRequestMetadata and RequireTransportSecurity implement gRPC's credentials.PerRPCCredentials:
// grpc.WithPerRPCCredentials(source.File("")).
func (f File) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	raw, err := f.Read()
	if err != nil {
		return nil, err
	}
	return map[string]string{"authorization": "Bearer " + raw}, nil
}

// RequireTransportSecurity is true: a token does not go in clear.
func (f File) RequireTransportSecurity() bool { return true }

// Transport puts the token into each request. It is safe for concurrent use if Base is.
type Transport struct {
	File File
	Base http.RoundTripper // nil for http.DefaultTransport
}

// RoundTrip implements http.RoundTripper. After a 401 it sends the request once more if the file
// holds another token than before, and the body can be had again (see http.Request.GetBody). A
// caller that follows redirects to other hosts should drop the header itself, as http.Client does.
func (t Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	used, err := t.File.Read()
	if err != nil {
		closeBody(r)
		return nil, err
	}
	response, err := t.send(r, used)
	if err != nil || response.StatusCode != http.StatusUnauthorized || !again(r) {
		return response, err
	}
	now, err := t.File.Read()
	if err != nil || now == used {
		return response, nil // the server's answer tells more than our error
	}
	next := r.Clone(r.Context())
	if r.GetBody != nil {
		if next.Body, err = r.GetBody(); err != nil {
			return response, nil
		}
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, maxToken)) // so that the connection can be used again
	response.Body.Close()
	return t.send(next, now)
}

// again reports whether a request can be sent once more.
func again(r *http.Request) bool { return r.Body == nil || r.Body == http.NoBody || r.GetBody != nil }

func (t Transport) send(r *http.Request, token string) (*http.Response, error) {
	with := r.Clone(r.Context())
	with.Header.Set("Authorization", "Bearer "+token)
	if t.Base == nil {
		return http.DefaultTransport.RoundTrip(with)
	}
	return t.Base.RoundTrip(with)
}

func closeBody(r *http.Request) {
	if r.Body != nil {
		r.Body.Close()
	}
}
