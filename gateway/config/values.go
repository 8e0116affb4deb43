package config

import (
	"strings"
	"time"
)

// Values are a gateway's settings. The names of the fields in the file are those of Names.
type Values struct {
	Issuer      string   `toml:"issuer"`       // "" for none: tokens then say openshell-gateway:<id>
	TrustDomain string   `toml:"trust-domain"` // of the tokens' subjects
	PublishFor  Duration `toml:"publish-for"`  // how long a key is public before it signs
	Hook        []string `toml:"hook"`         // a command and its arguments; nil for none
	Listen      string   `toml:"listen"`       // HOST:PORT for verifiers; "" for none
	TLSCert     string   `toml:"tls-cert"`
	TLSKey      string   `toml:"tls-key"`
	TTL         Duration `toml:"ttl"` // lifetime of tokens for which none is named
	IdleAfter   Duration `toml:"idle-after"`
	LogLevel    string   `toml:"log-level"` // info or debug

	Clusters map[string]Cluster `toml:"clusters"` // by name
}

// issuedAhead is publish-for's default once there is an issuer: verifiers keep what they
// fetched for some minutes.
var issuedAhead = Duration{15 * time.Minute}

// defaults are the values that nobody has set.
func defaults() Values {
	return Values{TrustDomain: "openshell", TTL: Duration{time.Hour}, LogLevel: "info"}
}

// Duration is a time.Duration in the form of time.ParseDuration.
type Duration struct{ time.Duration }

// UnmarshalText reads a duration such as 15m.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	d.Duration = parsed
	return err
}

// String is the shortest form: 15m, not 15m0s.
func (d Duration) String() string {
	text := d.Duration.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// setting is one of the Values.
type setting struct {
	name  string
	form  string // what a value looks like, for errors
	once  bool   // a gateway that runs does not change it
	env   string // the environment variable; "" for none
	value func(*Values) any
	check func(*Values) error // nil if any value will do
}

// settings are all of them, in the order in which they are shown.
var settings = []setting{
	{name: "issuer", form: `a URL such as "https://tokens.example.org"`, env: "OPENSHELL_ISSUER",
		value: func(v *Values) any { return &v.Issuer }, check: checkIssuer},
	{name: "trust-domain", form: `a name such as "example.org"`, env: "OPENSHELL_TRUST_DOMAIN",
		value: func(v *Values) any { return &v.TrustDomain }, check: checkTrustDomain},
	{name: "publish-for", form: `a duration such as "15m"`, env: "OPENSHELL_PUBLISH_FOR",
		value: func(v *Values) any { return &v.PublishFor }, check: checkPublishFor},
	{name: "hook", form: `a list such as ["/usr/local/bin/publish-keys", "example"]`,
		value: func(v *Values) any { return &v.Hook }, check: checkHook},
	{name: "listen", form: `an address such as "127.0.0.1:8443"`, env: "OPENSHELL_LISTEN",
		value: func(v *Values) any { return &v.Listen }, check: checkListen},
	{name: "tls-cert", form: `the path of a PEM file`, env: "OPENSHELL_TLS_CERT",
		value: func(v *Values) any { return &v.TLSCert },
		check: func(v *Values) error { return checkPair(v.TLSCert, v.TLSKey, "tls-key") }},
	{name: "tls-key", form: `the path of a PEM file`, env: "OPENSHELL_TLS_KEY",
		value: func(v *Values) any { return &v.TLSKey },
		check: func(v *Values) error { return checkPair(v.TLSKey, v.TLSCert, "tls-cert") }},
	{name: "ttl", form: `a duration such as "1h"`, env: "OPENSHELL_TTL",
		value: func(v *Values) any { return &v.TTL }, check: checkTTL},
	{name: "idle-after", form: `a duration such as "10m", or "0s" for never`, env: "OPENSHELL_IDLE_AFTER", once: true,
		value: func(v *Values) any { return &v.IdleAfter }, check: checkIdle},
	{name: "log-level", form: `"info" or "debug"`, env: "OPENSHELL_LOG_LEVEL", once: true,
		value: func(v *Values) any { return &v.LogLevel }, check: checkLogLevel},
}

// Names returns the names of all settings, in the order in which they are shown.
func Names() []string {
	var names []string
	for _, s := range settings {
		names = append(names, s.name)
	}
	return names
}

// Variables returns the environment variables of all settings that have one.
func Variables() []string {
	var names []string
	for _, s := range settings {
		if s.env != "" {
			names = append(names, s.env)
		}
	}
	return names
}
