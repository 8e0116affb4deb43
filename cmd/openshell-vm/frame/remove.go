package frame

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/gateways"
	"openshell-vm/gateway/api"
)

// Remove removes each that is named. With --force, what is gone already is no error.
func Remove(c *cli.Context, remove func(ctx context.Context, client *api.Client, ref string) error) error {
	force := c.Bool("force")
	return ForEach(c, "removing", func(ctx context.Context, client *api.Client, ref string) error {
		err := remove(ctx, client, ref)
		if force && gateways.NotFound(err) {
			return nil
		}
		return Done(c, ref, err)
	})
}

// RemoveAll removes each of a list, and goes on after a failure. Of what is gone already it
// says nothing.
func RemoveAll[T any](c *cli.Context, list []T, remove func(T) (name string, err error)) error {
	var errs []error
	for _, one := range list {
		name, err := remove(one)
		if gateways.NotFound(err) {
			continue
		}
		errs = append(errs, Done(c, name, err))
	}
	return errors.Join(errs...)
}

// Confirmed asks whether to do it. The end of the input is a no.
func Confirmed(in io.Reader, what string) bool {
	fmt.Fprintf(os.Stderr, "%s\nGo on? [y/N] ", what)
	answer, _ := bufio.NewReader(in).ReadString('\n')
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes"
}
