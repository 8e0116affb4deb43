package command

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

// The formats that say when they expire.
const (
	AWS        = "aws"        // credential_process: Version 1, Expiration
	Kubernetes = "kubernetes" // ExecCredential: status.expirationTimestamp
	OAuth      = "oauth"      // an answer of a token endpoint: expires_in
	JWT        = "jwt"        // exp
	Raw        = "raw"        // whatever it is: nothing is known of it
)

// Formats returns all formats.
func Formats() []string { return []string{AWS, Kubernetes, OAuth, JWT, Raw} }

// readers read the expiry of each format. A zero time is none: these say that they do not
// expire.
var readers = map[string]func(data []byte, now time.Time) (time.Time, error){
	AWS: expiryOfAWS, Kubernetes: expiryOfKubernetes, OAuth: expiryOfOAuth, JWT: expiryOfJWT,
	Raw: func([]byte, time.Time) (time.Time, error) { return time.Time{}, nil },
}

// Expiry returns when what a command printed expires; zero if it does not say. An output that is
// not of the format, or that has expired, is an error. An empty format is what is recognized.
func Expiry(data []byte, format string, now time.Time) (expires time.Time, err error) {
	if format == "" {
		format = recognized(data)
	}
	read, ok := readers[format]
	if !ok {
		return expires, fmt.Errorf("there is no format %q", format)
	}
	if expires, err = read(bytes.TrimSpace(data), now); err != nil {
		return time.Time{}, fmt.Errorf("it does not print the format %s: %w", format, err)
	}
	if !expires.IsZero() && !expires.After(now) {
		return time.Time{}, fmt.Errorf("what it prints has expired at %s", expires.UTC().Format(time.RFC3339))
	}
	return expires, nil
}

// document has the fields of all JSON formats.
type document struct {
	Version         int     `json:"Version"`
	AccessKeyID     string  `json:"AccessKeyId"`
	SecretAccessKey string  `json:"SecretAccessKey"`
	Expiration      *string `json:"Expiration"`

	Kind   string `json:"kind"`
	Status *struct {
		Expires *string `json:"expirationTimestamp"`
		Token   string  `json:"token"`
		Cert    string  `json:"clientCertificateData"`
	} `json:"status"`

	AccessToken string       `json:"access_token"`
	ExpiresIn   *json.Number `json:"expires_in"`
}

func parse(data []byte) (d document, err error) {
	if err = json.Unmarshal(data, &d); err != nil {
		err = errors.New("it is not that JSON") // the library's error quotes what it read
	}
	return d, err
}

// recognized returns the format of an output.
func recognized(data []byte) string {
	data = bytes.TrimSpace(data)
	if _, err := expiryOfJWT(data, time.Time{}); err == nil {
		return JWT
	}
	d, err := parse(data)
	switch {
	case err != nil:
	case d.AccessKeyID != "" && d.Version != 0:
		return AWS
	case d.Kind == "ExecCredential":
		return Kubernetes
	case d.AccessToken != "":
		return OAuth
	}
	return Raw
}

func expiryOfAWS(data []byte, _ time.Time) (time.Time, error) {
	d, err := parse(data)
	switch {
	case err != nil:
		return time.Time{}, err
	case d.Version != 1 || d.AccessKeyID == "" || d.SecretAccessKey == "":
		return time.Time{}, errors.New("its Version has to be 1, with AccessKeyId and SecretAccessKey")
	}
	return timestamp(d.Expiration)
}

func expiryOfKubernetes(data []byte, _ time.Time) (time.Time, error) {
	d, err := parse(data)
	switch {
	case err != nil:
		return time.Time{}, err
	case d.Kind != "ExecCredential" || d.Status == nil || d.Status.Token == "" && d.Status.Cert == "":
		return time.Time{}, errors.New("it has to be an ExecCredential with a status")
	}
	return timestamp(d.Status.Expires)
}

func expiryOfOAuth(data []byte, now time.Time) (time.Time, error) {
	d, err := parse(data)
	switch {
	case err != nil:
		return time.Time{}, err
	case d.AccessToken == "":
		return time.Time{}, errors.New("it has no access_token")
	case d.ExpiresIn == nil:
		return time.Time{}, nil
	}
	seconds, err := d.ExpiresIn.Float64()
	if err != nil || !(seconds > 0 && seconds < math.MaxInt32) {
		return time.Time{}, errors.New("expires_in is no number of seconds")
	}
	return now.Add(time.Duration(seconds * float64(time.Second))), nil
}

func timestamp(text *string) (time.Time, error) {
	if text == nil || *text == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, *text)
	if err != nil {
		return at, errors.New("its time of expiry is not one of RFC 3339")
	}
	return at, nil
}

// expiryOfJWT reads exp. It verifies nothing.
func expiryOfJWT(data []byte, _ time.Time) (time.Time, error) {
	parts := strings.Split(string(data), ".")
	if len(parts) != 3 {
		return time.Time{}, errors.New("it is no JWT")
	}
	var header struct{ Alg string }
	var claims struct {
		Exp *json.Number `json:"exp"`
	}
	for i, into := range []any{&header, &claims} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil || json.Unmarshal(text, into) != nil {
			return time.Time{}, errors.New("it is no JWT")
		}
	}
	switch {
	case header.Alg == "":
		return time.Time{}, errors.New("it is no JWT")
	case claims.Exp == nil:
		return time.Time{}, nil
	}
	seconds, err := claims.Exp.Float64()
	if err != nil || !(seconds > 0 && seconds < 1<<40) {
		return time.Time{}, errors.New("exp is no time")
	}
	return time.Unix(int64(seconds), 0), nil
}
