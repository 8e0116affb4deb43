package main

import (
	"encoding/csv"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/gateway/api"
)

// audienceFlags are about the tokens beside sandbox.jwt: run, create and share create.
func audienceFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "token", Usage: "keep a fresh token for another `AUDIENCE[,file=NAME][,ttl=DURATION][,alg=ES256|RS256|EdDSA][,jti=no]` " +
			"beside sandbox.jwt, in HOST.jwt of a URL as the audience; or for a provider, with what its SDK reads: " + providers() + " (repeatable)"},
		&cli.StringFlag{Name: "identity", Usage: "`NAME` as the subject of these tokens, which outlives the sandbox", DefaultText: "the sandbox's id; a share's name"},
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

// readTokens reads audienceFlags. The gateway judges what they ask for.
func readTokens(c *cli.Context) (t api.Tokens, err error) {
	t.Identity, t.Audiences = c.String("identity"), c.StringSlice("allow-audience")
	if c.IsSet("identity") && t.Identity == "" {
		return t, say.Errorf("give a name, or leave --identity out", "--identity is empty")
	}
	if t.Files, err = tokenFiles(c.StringSlice("token")); err != nil {
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

// tokenFiles reads --token's values.
func tokenFiles(values []string) (files []api.TokenFile, err error) {
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
	const hint = "write AUDIENCE[,file=NAME][,ttl=DURATION][,alg=ALGORITHM][,jti=no]; an audience with a comma is quoted: '\"a,b\",file=NAME'"
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
				return f, say.Errorf("give a lifetime such as ttl=15m, or leave it out for that of sandbox.jwt", "token %q: %q is no lifetime", text, value)
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

func tokenAddCommand() *cli.Command {
	return &cli.Command{
		Name: "add", ArgsUsage: cmdline.SandboxTokens,
		Usage:  "keep fresh tokens for other audiences in a sandbox or a share, each AUDIENCE as for run --token, and print their files",
		Action: tokenAddAction,
		Description: `# A sandbox that runs sees the file at once
openshell-vm token add box https://api.example.com,ttl=15m

# For a provider
openshell-vm token add box aws:arn:aws:iam::123456789012:role/deploy`,
	}
}

func tokenDropCommand() *cli.Command {
	return &cli.Command{
		Name: "drop", ArgsUsage: cmdline.SandboxFiles,
		Usage:  "take tokens for other audiences away, each by its file or its audience",
		Action: tokenDropAction,
		Description: `# By its file, and by its audience
openshell-vm token drop box api.example.com.jwt
openshell-vm token drop box https://api.example.com`,
	}
}

// tokenAddAction prints where the sandbox finds each file.
func tokenAddAction(c *cli.Context) error {
	return changeTokens(c, func(values []string) (q api.TokensRequest, err error) {
		q.Add, err = tokenFiles(values)
		return q, err
	}, func(s api.Share) []string {
		var added []string
		for _, f := range s.Tokens.Files[max(0, len(s.Tokens.Files)-c.NArg()+1):] { // the new ones come last
			added = append(added, s.Target+"/"+f.File)
		}
		return added
	})
}

// tokenDropAction prints what it was told to drop.
func tokenDropAction(c *cli.Context) error {
	return changeTokens(c, func(refs []string) (api.TokensRequest, error) {
		return api.TokensRequest{Drop: refs}, nil
	}, func(api.Share) []string { return c.Args().Slice()[1:] })
}

// changeTokens sends what the arguments after the first ask for, and prints lines about it.
func changeTokens(c *cli.Context, request func([]string) (api.TokensRequest, error), lines func(api.Share) []string) error {
	args := c.Args().Slice()
	if len(args) < 2 || args[0] == "" {
		return cmdline.WrongArgs(c)
	}
	q, err := request(args[1:])
	if err != nil {
		return err
	}
	client, err := connect(c.Context, say.NewProgress(os.Stderr))
	if err != nil {
		return err
	}
	share, err := client.Tokens.Change(c.Context, args[0], q)
	if err != nil {
		return err
	}
	say.Warn(share.Warnings)
	for _, line := range lines(share) {
		if _, err := fmt.Fprintln(c.App.Writer, line); err != nil {
			return err
		}
	}
	return nil
}
