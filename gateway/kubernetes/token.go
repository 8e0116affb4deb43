package kubernetes

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/json" // it takes no name twice, and none in another case

	"openshell-vm/gateway/oauth"
	"openshell-vm/tokens"
)

const (
	maxToken = 8192 // bytes; a ServiceAccount's has about 1,200
	maxKeyID = 256
	maxJTI   = 128
	// leeway is how far a cluster's clock may be ahead. There is none at the end of a token's life:
	// nothing may outlive it.
	leeway = 30 * time.Second
)

// header is what a token says of its signature. Fields beside these are refused.
type header struct {
	Algorithm string `json:"alg"`
	KeyID     string `json:"kid"`
	Type      string `json:"typ"`
}

// claims are those of a ServiceAccount's token that count here:
// https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/.
type claims struct {
	Issuer     string    `json:"iss"`
	Audience   audiences `json:"aud"`
	Subject    string    `json:"sub"`
	Expires    *int64    `json:"exp"`
	NotBefore  *int64    `json:"nbf"`
	IssuedAt   *int64    `json:"iat"`
	ID         string    `json:"jti"`
	Kubernetes *struct {
		Namespace      string  `json:"namespace"`
		ServiceAccount *object `json:"serviceaccount"`
		Pod            *object `json:"pod"`
	} `json:"kubernetes.io"`
}

type object struct {
	Name string `json:"name"`
	UID  string `json:"uid"`
}

// audiences are a string or an array of strings.
type audiences []string

func (a *audiences) UnmarshalJSON(text []byte) error {
	var one *string
	if json.Unmarshal(text, &one) == nil && one != nil {
		*a = audiences{*one}
		return nil
	}
	return json.Unmarshal(text, (*[]string)(a))
}

// token is one that was taken apart. Nothing in it is to be trusted before its cluster vouched
// for it.
type token struct {
	raw       string
	header    header
	claims    claims
	signed    string // what the signature covers
	signature []byte
}

// parse takes a token apart.
func parse(raw string) (*token, *oauth.Refusal) {
	if len(raw) > maxToken {
		return nil, unfit(fmt.Sprintf("it has more than %d bytes", maxToken))
	}
	parts := strings.Split(raw, ".")
	if len(parts) != 3 || strings.ContainsAny(raw, "\r\n") {
		return nil, unfit("it is no JWT")
	}
	t := &token{raw: raw, signed: parts[0] + "." + parts[1]}
	var fields map[string]json.RawMessage
	if decode(parts[0], &fields) != nil || decode(parts[0], &t.header) != nil || decode(parts[1], &t.claims) != nil {
		return nil, unfit("its header or its claims have not the form of a ServiceAccount's token")
	}
	for name := range fields { // a key, or where to fetch one, is none that a cluster vouches for
		if !slices.Contains([]string{"alg", "kid", "typ"}, name) {
			return nil, unfit("its header has more than alg, kid and typ")
		}
	}
	var err error
	if t.signature, err = base64.RawURLEncoding.Strict().DecodeString(parts[2]); err != nil {
		return nil, unfit("its signature has not the form of one")
	}
	if t.header.KeyID == "" || len(t.header.KeyID) > maxKeyID {
		return nil, unfit("it has no key id")
	}
	return t, nil
}

// decode reads one part, which must be an object.
func decode(part string, to any) error {
	text, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil {
		return err
	}
	if trimmed := strings.TrimLeft(string(text), " \t\r\n"); !strings.HasPrefix(trimmed, "{") {
		return errors.New("no object")
	}
	return json.Unmarshal(text, to)
}

// judge returns whose token it is, if its claims are whole and its times are now.
func (t *token) judge(cluster string, now time.Time) (pod tokens.Pod, bad *oauth.Refusal) {
	c := t.claims
	switch {
	case c.Expires == nil:
		return pod, unfit("it never expires")
	case !possible(c.Expires) || !possible(c.NotBefore) || !possible(c.IssuedAt):
		return pod, unfit("its times are impossible")
	case !now.Before(t.expires()):
		return pod, unfit("it has expired")
	case ahead(c.NotBefore, now) || ahead(c.IssuedAt, now):
		return pod, unfit("it is from the future")
	case c.Kubernetes == nil || c.Kubernetes.Namespace == "" || c.Kubernetes.ServiceAccount == nil:
		return pod, unfit("it names no namespace or no ServiceAccount")
	case c.Kubernetes.Pod == nil:
		return pod, unfit("it is not bound to a pod: take that of a projected volume")
	}
	k := c.Kubernetes
	pod = tokens.Pod{Cluster: cluster, Namespace: k.Namespace,
		ServiceAccount: k.ServiceAccount.Name, ServiceAccountUID: k.ServiceAccount.UID,
		Name: k.Pod.Name, UID: k.Pod.UID}
	if err := pod.Check(); err != nil {
		return tokens.Pod{}, unfit(err.Error())
	}
	if c.Subject != username(k.Namespace, k.ServiceAccount.Name) {
		return tokens.Pod{}, unfit("its subject is not its ServiceAccount")
	}
	return pod, nil
}

// username is what a ServiceAccount is called, by its API server and in a token's subject.
func username(namespace, name string) string {
	return "system:serviceaccount:" + namespace + ":" + name
}

func (t *token) expires() time.Time { return time.Unix(*t.claims.Expires, 0) }

// id is the token's jti, if it is one; clusters before 1.29 write none.
func (t *token) id() string {
	odd := func(r rune) bool { return r <= ' ' || r > '~' }
	if len(t.claims.ID) > maxJTI || strings.ContainsFunc(t.claims.ID, odd) {
		return ""
	}
	return t.claims.ID
}

// possible reports whether a time overflows in no arithmetic. None is fine.
func possible(seconds *int64) bool { return seconds == nil || *seconds >= 0 && *seconds < 1<<40 }

func ahead(seconds *int64, now time.Time) bool {
	return seconds != nil && now.Add(leeway).Before(time.Unix(*seconds, 0))
}
