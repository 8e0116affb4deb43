package secrets

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/gateway/api"
)

// read reads a secret's content from a file; from standard input if path is - or "". A person
// at a terminal is asked for it, and what is typed is not shown.
func read(ctx context.Context, path string) ([]byte, error) {
	in := os.Stdin
	if path == "" && term.IsTerminal(int(in.Fd())) {
		return ask(ctx, in)
	}
	if path != "" && path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, say.Errorf("give a readable file, or - for standard input", "read the secret: %v", err)
		}
		defer f.Close()
		in = f
	}
	content, err := io.ReadAll(io.LimitReader(in, api.MaxSecretSize+1))
	switch {
	case err != nil:
		return nil, say.Errorf("give a readable file, or - for standard input", "read the secret: %v", err)
	case len(content) > api.MaxSecretSize:
		return nil, say.Errorf("mount a directory of your own for more: --mount", "the secret is larger than %d MiB", api.MaxSecretSize>>20)
	case len(content) == 0:
		return nil, say.Errorf("nothing was changed: see whether what was to give it has failed", "the secret is empty")
	}
	return content, nil
}

// ask asks for one line. A signal that ends the program leaves the terminal as it was before.
func ask(ctx context.Context, terminal *os.File) ([]byte, error) {
	before, err := term.GetState(int(terminal.Fd()))
	if err != nil {
		return nil, err
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	defer signal.Stop(signals)
	fmt.Fprint(os.Stderr, "Secret (not shown): ")
	type answer struct {
		line []byte
		err  error
	}
	typed := make(chan answer, 1)
	go func() {
		line, err := term.ReadPassword(int(terminal.Fd()))
		typed <- answer{line, err}
	}()
	select {
	case a := <-typed:
		fmt.Fprintln(os.Stderr)
		if a.err == nil && len(a.line) == 0 {
			a.err = say.Errorf("nothing was changed", "no secret was typed")
		}
		return a.line, a.err
	case sig := <-signals:
		_ = term.Restore(int(terminal.Fd()), before)
		fmt.Fprintln(os.Stderr)
		signal.Reset(sig)
		_ = unix.Kill(os.Getpid(), sig.(unix.Signal)) // the shell is to know what ended it
		<-ctx.Done()
		return nil, ctx.Err()
	case <-ctx.Done():
		_ = term.Restore(int(terminal.Fd()), before)
		return nil, ctx.Err()
	}
}
