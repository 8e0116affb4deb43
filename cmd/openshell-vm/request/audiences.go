package request

import (
	"encoding/csv"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/gateway/api"
)

// TokenFlags are about sandbox.jwt and the tokens beside it: run, create and share create.
func TokenFlags() []cli.Flag {
	return []cli.Flag{
		cmdline.Choice{Of: modes(), StringFlag: &cli.StringFlag{Name: "auth-mode", DefaultText: "gateway-managed-file",
			Usage: "`MODE`: who makes sandbox.jwt and keeps it fresh; " + strings.Join(modes(), " or ")}},
		&cli.StringFlag{Name: "static-token", TakesFile: true, Usage: "your own token in `FILE` as sandbox.jwt, in place of one of the " +
			"gateway's; it is followed when the file changes"},
		&cli.StringSliceFlag{Name: "token", Usage: "keep a fresh token for another `AUDIENCE` " +
			"beside sandbox.jwt, in HOST.jwt of a URL as the audience; or for a provider, with what its SDK reads: " +
			providers() + "; AUDIENCE[,file=NAME][,ttl=DURATION][,alg=ES256|RS256|EdDSA][,jti=no] (repeatable)"},
		&cli.StringFlag{Name: "identity", Usage: "`NAME` as the subject of these tokens, which outlives the sandbox",
			DefaultText: "the sandbox's id; a share's name"},
		&cli.StringSliceFlag{Name: "claim", Usage: "a claim `K=V` of these tokens (repeatable)"},
		&cli.StringSliceFlag{Name: "allow-audience", Usage: "it may also ask the gateway for tokens for `AUDIENCE` (repeatable)"},
	}
}

// providers lists the presets, as they are written.
func providers() string {
	var list []string
	for _, name := range api.TokenPresets {
		list = append(list, name+":…")
	}
	return strings.Join(list, ", ")
}

// modes are the auth modes that can be asked for. The gateway says more about the others.
func modes() []string { return []string{string(api.ManagedFile), string(api.StaticToken)} }

// Tokens reads TokenFlags. The gateway judges what they ask for.
func Tokens(c *cli.Context) (t api.Tokens, err error) {
	t.Mode = api.AuthMode(c.String("auth-mode"))
	if c.IsSet("auth-mode") && t.Mode == "" {
		return t, say.Errorf("use one of "+strings.Join(modes(), ", ")+", or leave --auth-mode out", "--auth-mode is empty")
	}
	if t.Static = c.String("static-token"); c.IsSet("static-token") && t.Static == "" {
		return t, say.Errorf("name a file, or leave --static-token out", "--static-token is empty")
	}
	if t.Static != "" { // the gateway has another working directory
		if t.Static, err = filepath.Abs(t.Static); err != nil {
			return t, err
		}
	}
	t.Identity, t.Audiences = c.String("identity"), c.StringSlice("allow-audience")
	if c.IsSet("identity") && t.Identity == "" {
		return t, say.Errorf("give a name, or leave --identity out", "--identity is empty")
	}
	if t.Files, err = TokenFiles(c.StringSlice("token")); err != nil {
		return t, err
	}
	for _, setting := range c.StringSlice("claim") {
		name, value, ok := strings.Cut(setting, "=")
		if !ok || name == "" {
			return t, say.Errorf("write --claim NAME=VALUE", "claim %q is malformed", setting)
		}
		if t.Claims == nil {
			t.Claims = map[string]string{}
		}
		t.Claims[name] = value
	}
	return t, nil
}

// TokenFiles reads --token's values.
func TokenFiles(values []string) (files []api.TokenFile, err error) {
	for _, text := range values {
		f, err := tokenFile(text)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

// tokenFile reads AUDIENCE[,OPTION=VALUE…] in the form of a line of CSV, as docker's --mount:
// a field with a comma is quoted as a whole. The first field is the audience, aud=AUDIENCE, or
// a preset with its parameter.
func tokenFile(text string) (f api.TokenFile, err error) {
	const hint = "write AUDIENCE[,file=NAME][,ttl=DURATION][,alg=ALGORITHM][,jti=no]; " +
		"an audience with a comma is quoted: '\"a,b\",file=NAME'"
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		return f, say.Errorf(hint, "token %q is malformed", text)
	}
	preset, parameter, _ := strings.Cut(fields[0], ":")
	switch {
	case slices.Contains(api.TokenPresets, preset) && strings.Contains(fields[0], ":"):
		f.Preset, f.Parameter = preset, parameter
	default:
		f.Audience = strings.TrimPrefix(fields[0], "aud=")
	}
	seen := map[string]bool{}
	for _, field := range fields[1:] {
		key, value, assigned := strings.Cut(field, "=")
		if seen[key] {
			return f, say.Errorf(hint, "token %q: %s is there twice", text, key)
		}
		seen[key] = true
		switch {
		case !assigned || value == "":
			return f, say.Errorf(hint, "token %q: %q is not OPTION=VALUE", text, field)
		case key == "aud" && f.Preset != "": // in place of what the provider expects by default
			f.Audience = value
		case key == "file":
			f.File = value
		case key == "alg":
			f.Algorithm = value
		case key == "ttl":
			if f.TTL, err = time.ParseDuration(value); err != nil || f.TTL <= 0 {
				return f, say.Errorf("give a lifetime such as ttl=15m, or leave it out for that of sandbox.jwt",
					"token %q: %q is no lifetime", text, value)
			}
		case key == "jti" && value == "no":
			f.NoID = true
		case key == "jti" && value == "yes":
		default:
			return f, say.Errorf(hint, "token %q: %q is not known", text, field)
		}
	}
	if f.Audience == "" && f.Preset == "" {
		return f, say.Errorf(hint, "token %q has no audience", text)
	}
	return f, nil
}
