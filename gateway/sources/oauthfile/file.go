package oauthfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/oauth2"

	"openshell-vm/gateway/sources/ask"
)

// most bounds the file, and a server's answer.
const most = 256 << 10

// authorizedUser is the type of Google's file, and googleEndpoint where it is used.
const (
	authorizedUser = "authorized_user"
	googleEndpoint = "https://oauth2.googleapis.com/token"
)

// File is what matters of a file. Names are those of RFC 8414, 7591 and 6749; a file of Google's
// libraries has type and token_uri instead.
type File struct {
	Type         string `json:"type"`
	Endpoint     string `json:"token_endpoint"`
	URI          string `json:"token_uri"`
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
	RefreshToken string `json:"refresh_token"`
	// Method is how the client says who it is: client_secret_basic, client_secret_post or none.
	Method string `json:"token_endpoint_auth_method"`
}

// parse reads a file. Its errors hold nothing of it.
func parse(data []byte) (f File, err error) {
	if json.Unmarshal(data, &f) != nil {
		return File{}, errors.New("it is no JSON object as a file of --oauth has to be")
	}
	if f.Endpoint == "" {
		f.Endpoint = f.URI
	}
	if f.Type == authorizedUser {
		if f.Endpoint == "" {
			f.Endpoint = googleEndpoint
		}
		if f.Method == "" {
			f.Method = "client_secret_post"
		}
	}
	if f.Method == "" {
		f.Method = "none"
		if f.ClientSecret != "" {
			f.Method = "client_secret_basic"
		}
	}
	switch {
	case f.Type != "" && f.Type != authorizedUser:
		return File{}, errors.New("its type is not " + authorizedUser + ": leave type out in a file of another server")
	case f.Endpoint == "":
		return File{}, errors.New("it has no token_endpoint")
	case f.ClientID == "":
		return File{}, errors.New("it has no client_id")
	case f.RefreshToken == "":
		return File{}, errors.New("it has no refresh_token")
	case !slices.Contains([]string{"client_secret_basic", "client_secret_post", "none"}, f.Method):
		return File{}, errors.New("its token_endpoint_auth_method is not client_secret_basic, client_secret_post or none")
	}
	if _, err := ask.URL(f.Endpoint); err != nil {
		return File{}, fmt.Errorf("its token_endpoint can't be used: %w", err)
	}
	return f, nil
}

// config is how the library asks. It is told how to say who the client is: when it finds that out
// itself, it sends a refresh token twice.
func (f File) config() oauth2.Config {
	style := oauth2.AuthStyleInParams
	if f.Method == "client_secret_basic" {
		style = oauth2.AuthStyleInHeader
	}
	if f.Method == "none" {
		f.ClientSecret = ""
	}
	return oauth2.Config{ClientID: f.ClientID, ClientSecret: f.ClientSecret,
		Endpoint: oauth2.Endpoint{TokenURL: f.Endpoint, AuthStyle: style}}
}

// rotated returns the file's bytes with another refresh token. All else stays byte for byte.
func rotated(data []byte, token string) ([]byte, error) {
	quoted, err := json.Marshal(token)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if _, err := d.Token(); err != nil { // the brace
		return nil, err
	}
	start, end := int64(-1), int64(0)
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, err
		}
		if name, is := key.(string); is && strings.EqualFold(name, "refresh_token") { // as parse has it; of two the last counts
			end = d.InputOffset()
			start = end - int64(len(value))
		}
	}
	if start < 0 {
		return nil, errors.New("it has no refresh_token")
	}
	return slices.Concat(data[:start], quoted, data[end:]), nil
}
