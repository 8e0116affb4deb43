package frame

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/gateway/api"
)

// ForEach does one thing to each sandbox that is named. It goes on after a failure, and
// reports all of them.
func ForEach(c *cli.Context, doing string, f func(ctx context.Context, client *api.Client, ref string) error) error {
	refs, err := cmdline.Some(c)
	if err != nil {
		return err
	}
	p := say.NewProgress(os.Stderr)
	client, err := Connect(c.Context, p)
	if err != nil {
		return err
	}
	var errs []error
	for _, ref := range refs {
		told := p.FollowStart(c.Context, client, doing+" "+ref, ref)
		err := f(c.Context, client, ref)
		told()
		if err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
}

// Done prints what was named once it has been done.
func Done(c *cli.Context, ref string, err error) error {
	if err == nil {
		_, err = fmt.Fprintln(c.App.Writer, ref)
	}
	return err
}
