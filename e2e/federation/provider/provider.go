// Package provider stands in for those who take a token in place of a static key: AWS STS,
// Google's STS, Entra, Anthropic, OpenAI. One server answers for the names of all of them, in
// the form that their documents tell and their SDKs expect. It verifies tokens as they do: by
// what the issuer's discovery serves, kept for as long as its headers allow, and by the rules in
// rules.go. What it can't know of them is whether they are stricter than their documents.
//
// The access that it gives is said to end after seconds, so that an SDK has to come again with
// its token. It counts what came, and keeps the reason of each refusal.
package provider

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// What the sandboxes are configured with, as a user copies it from a console.
const (
	Role           = "arn:aws:iam::123456789012:role/agent"
	Region         = "eu-central-1"
	Pool           = "projects/123456789012/locations/global/workloadIdentityPools/hosts/providers/openshell"
	Account        = "agent@example.iam.gserviceaccount.com"
	Tenant         = "11111111-2222-3333-4444-555555555555"
	Client         = "66666666-7777-8888-9999-000000000000"
	Rule           = "fdrl_test"
	Organization   = "00000000-0000-4000-8000-000000000000"
	ServiceAccount = "svac_test"
)

// Options say whose tokens are taken.
type Options struct {
	Issuer  string
	Subject string
	// Client fetches discovery and keys. Its transport has to trust the issuer's certificate.
	Client *http.Client
	// Access is how long access is said to last. It is taken for a minute more, since a call
	// that has begun may be slow.
	Access time.Duration
}

// Provider is the server. Any number of connections may use it at once.
type Provider struct {
	options  Options
	verifier verifier

	mu     sync.Mutex
	grants map[string]grant // by the secret that was given
	used   map[string]bool  // ids of tokens that may be used once
	seen   map[string]*Seen
}

// grant is access that was given.
type grant struct {
	provider string
	ends     time.Time
}

// Seen is what came to one provider.
type Seen struct {
	Exchanges, Calls int
	Tokens, Keys     int      // different ones, in exchanges that were granted
	Late             int      // of these, what only the leeway saved
	Refused          []string // why, of exchanges and calls
	tokens, keys     map[string]bool
}

// New returns a provider that nothing was asked of yet.
func New(o Options) *Provider {
	return &Provider{options: o, verifier: verifier{issuer: o.Issuer, client: cached(o.Client)},
		grants: map[string]grant{}, used: map[string]bool{}, seen: map[string]*Seen{}}
}

// Seen returns what came to a provider so far.
func (p *Provider) Seen(name string) Seen {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := *p.at(name)
	s.Tokens, s.Keys, s.Refused = len(s.tokens), len(s.keys), slices.Clone(s.Refused)
	return s
}

// at returns the count of a provider. p.mu is held.
func (p *Provider) at(name string) *Seen {
	if p.seen[name] == nil {
		p.seen[name] = &Seen{tokens: map[string]bool{}, keys: map[string]bool{}}
	}
	return p.seen[name]
}

// Names returns the names for which it answers: a sandbox has to find it by them.
func Names() []string {
	names := slices.Collect(maps.Keys(hosts))
	slices.Sort(names)
	return names
}

// hosts are the names of the providers' servers, and who answers there.
var hosts = map[string]func(*Provider, http.ResponseWriter, *http.Request){
	"sts." + Region + ".amazonaws.com":    (*Provider).aws,
	"sts.amazonaws.com":                   (*Provider).aws,
	"sts.googleapis.com":                  (*Provider).googleSTS,
	"iamcredentials.googleapis.com":       (*Provider).googleIAM,
	"cloudresourcemanager.googleapis.com": (*Provider).googleProject,
	"storage.googleapis.com":              (*Provider).googleAPI,
	"login.microsoftonline.com":           (*Provider).entra,
	"login.microsoft.com":                 (*Provider).entra,
	"management.azure.com":                (*Provider).azureAPI,
	"api.anthropic.com":                   (*Provider).anthropic,
	"auth.openai.com":                     (*Provider).openaiAuth,
	"api.openai.com":                      (*Provider).openaiAPI,
}

// ServeHTTP answers as who was asked.
func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host, _, _ := strings.Cut(r.Host, ":")
	answer, known := hosts[host]
	if !known {
		p.refuse("nobody", fmt.Errorf("%s %s%s was asked for", r.Method, r.Host, r.URL.Path))
		http.Error(w, "no such provider", http.StatusMisdirectedRequest)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
	answer(p, w, r)
}

// exchange judges a token that came to a provider, and gives access.
func (p *Provider) exchange(name, token string) (access string, err error) {
	rules := rulesOf(name)
	rules.Subject = p.options.Subject
	told, err := p.verifier.verify(token, rules, time.Now())
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil && rules.Once && told.ID != "" {
		if p.used[told.ID] {
			err = fmt.Errorf("jti_reused: %s", told.ID)
		}
		p.used[told.ID] = true
	}
	s := p.at(name)
	if err != nil {
		s.Refused = append(s.Refused, err.Error())
		return "", err
	}
	s.Exchanges++
	s.tokens[fmt.Sprintf("%x", sha256.Sum256([]byte(token)))], s.keys[told.KeyID] = true, true
	if told.Late {
		s.Late++
	}
	return p.grant(name), nil
}

// grant gives access to a provider's API. p.mu is held.
func (p *Provider) grant(name string) (access string) {
	access = rand.Text()
	p.grants[access] = grant{name, time.Now().Add(p.options.Access + time.Minute)}
	return access
}

// seconds is the access as expires_in.
func (p *Provider) seconds() int { return int(p.options.Access / time.Second) }

// called judges access that came to a provider's API.
func (p *Provider) called(name, access string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.at(name)
	switch g, known := p.grants[access]; {
	case !known || g.provider != name:
		s.Refused = append(s.Refused, "a call without access")
		return fmt.Errorf("no access")
	case time.Now().After(g.ends):
		s.Refused = append(s.Refused, "a call with access that had ended")
		return fmt.Errorf("the access has ended")
	}
	s.Calls++
	return nil
}

// refuse counts a refusal of something else than a token or access.
func (p *Provider) refuse(name string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.at(name)
	s.Refused = append(s.Refused, err.Error())
}
