// Command openshell-token prints a fresh token for an audience, inside a sandbox. It asks the
// gateway by the sandbox's socket, with the token in the sandbox's token file. Each call gets
// another token.
//
// It is static, needs no network, and stands at /run/openshell/openshell-token. In a pod of a
// cluster it asks by https, with the ServiceAccount's token that is projected into the pod. It prints the
// token alone, or in the form that a program expects that runs it to get a credential.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

const usage = `usage: openshell-token [--format FORM] AUDIENCE

Prints a fresh token of this sandbox for AUDIENCE, which the sandbox was allowed by --token or
--allow-audience.

  --format plain        the token alone (the default)
  --format json         the gateway's answer, with the token's lifetime
  --format git          for git, which asks for one host:
                        git config --global credential.https://HOST.helper "/run/openshell/openshell-token --format git AUDIENCE"
  --format docker       for docker: what a program named docker-credential-NAME runs, with its own argument after AUDIENCE
  --format aws          for AWS's credential_process: asks STS for AWS_ROLE_ARN with a token for AUDIENCE
  --format kubernetes   for a kubeconfig's exec plugin
  --host HOST[:PORT]    the only host that git and docker get a token for (that of AUDIENCE, if it begins with https://)
  --timeout D           how long to wait for a gateway that is away (10s)

In a sandbox nothing has to be set. In a Kubernetes pod OPENSHELL_GATEWAY_URL is the gateway's https address, SSL_CERT_FILE
the certificates to trust there, and OPENSHELL_SANDBOX_TOKEN_FILE the ServiceAccount's token, projected for the gateway.
`

// exit codes: 1 for a refusal or a gateway that is away, 2 for a wrong call.
func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, in io.Reader, out, problems io.Writer) int {
	flags := flag.NewFlagSet("openshell-token", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	form := flags.String("format", "plain", "")
	host := flags.String("host", "", "")
	patience := flags.Duration("timeout", 10*time.Second, "")
	err := flags.Parse(args)
	switch {
	case err == flag.ErrHelp:
		fmt.Fprint(out, usage)
		return 0
	case err != nil:
		fmt.Fprintf(problems, "openshell-token: %v\n%s", err, usage)
		return 2
	case flags.NArg() < 1 || flags.Arg(0) == "":
		fmt.Fprintf(problems, "openshell-token: no audience is given\n%s", usage)
		return 2
	case formats[*form] == nil:
		fmt.Fprintf(problems, "openshell-token: there is no form %q: use %s\n", *form, strings.Join(names(), ", "))
		return 2
	}
	ctx, cancel := context.WithTimeout(ctx, *patience)
	defer cancel()
	call := call{audience: flags.Arg(0), host: *host, rest: flags.Args()[1:], in: in, out: out}
	if err := formats[*form](ctx, call); err != nil {
		fmt.Fprintln(problems, "openshell-token:", line(err.Error()))
		return 1
	}
	return 0
}

// call is what a form is made from.
type call struct {
	audience string
	host     string   // that of --host
	rest     []string // what the program that runs this one adds
	in       io.Reader
	out      io.Writer
}

// formats are the forms of output, by name.
var formats = map[string]func(context.Context, call) error{
	"plain": plain, "json": asJSON, "git": git, "docker": docker, "aws": aws, "kubernetes": kubernetes,
}

func names() (all []string) {
	for name := range formats {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}
