package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"openshell-vm/gateway/api"
)

func tokenInspectAction(c *cli.Context) error {
	return showToken(c, func(ctx context.Context, client *api.Client, ref string) (api.Token, error) {
		return client.Token(ctx, ref)
	})
}

// tokenRotateAction returns once the new token is where the sandbox reads it.
func tokenRotateAction(c *cli.Context) error {
	return showToken(c, func(ctx context.Context, client *api.Client, ref string) (api.Token, error) {
		return client.RotateToken(ctx, ref)
	})
}

func showToken(c *cli.Context, get func(context.Context, *api.Client, string) (api.Token, error)) error {
	asJSON, err := wantJSON(c)
	if err != nil {
		return err
	}
	ref, err := oneArg(c)
	if err != nil {
		return err
	}
	client, err := connect(c.Context, newProgress(os.Stderr))
	if err != nil {
		return err
	}
	token, err := get(c.Context, client, ref)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(c.App.Writer, token)
	}
	return printFacts(c.App.Writer, tokenFacts(token))
}

// maxToken bounds what is read as a token; the gateway refuses far less.
const maxToken = 64 << 10

func tokenVerifyAction(c *cli.Context) error {
	asJSON, err := wantJSON(c)
	if err != nil {
		return err
	}
	if c.NArg() > 1 {
		return argsError(c)
	}
	raw, err := readToken(c.Args().First(), c.App.Reader)
	if err != nil {
		return err
	}
	client, err := connect(c.Context, newProgress(os.Stderr))
	if err != nil {
		return err
	}
	result, err := client.VerifyToken(c.Context, api.VerifyRequest{Token: raw, Leeway: c.Duration("leeway")})
	if err != nil {
		return err
	}
	if asJSON {
		err = printJSON(c.App.Writer, result)
	} else {
		err = printVerdict(c.App.Writer, result, time.Now())
	}
	if err == nil && !result.Valid {
		return exit(codeNo)
	}
	return err
}

func printVerdict(w io.Writer, r api.VerifyResult, now time.Time) error {
	text := "not valid: " + oneLine(r.Problem)
	if r.Valid {
		text = fmt.Sprintf("valid: sandbox %s, generation %d, expires in %s", r.SandboxID, r.Generation, span(r.ExpiresAt.Sub(now)))
	}
	_, err := fmt.Fprintln(w, text)
	return err
}

// readToken reads a token from a file or, for "-" and "", from stdin. It
// never takes one as an argument: any user can read those in /proc.
func readToken(name string, stdin io.Reader) (string, error) {
	if strings.Count(name, ".") == 2 && strings.HasPrefix(name, "eyJ") {
		return "", usage("give a file's name, or - and the token on standard input; treat this token as known to others",
			"a token on the command line can be read by every user of this host")
	}
	from := stdin
	if name != "" && name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return "", usage("give a file that holds a token, or - for standard input", "read the token: %v", err)
		}
		defer f.Close()
		from = f
	}
	data, err := io.ReadAll(io.LimitReader(from, maxToken))
	if err != nil {
		return "", usage("give a file that holds a token, or - for standard input", "read the token: %v", err)
	}
	return strings.TrimSpace(string(data)), nil
}
