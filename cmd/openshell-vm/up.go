package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/frame"
	"openshell-vm/cmd/openshell-vm/gateways"
	"openshell-vm/cmd/openshell-vm/project"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/cmd/openshell-vm/session"
	"openshell-vm/gateway/api"
)

func upCommand() *cli.Command {
	return &cli.Command{
		Name: "up", Usage: "make and start the sandbox of openshell.toml, or start or attach to the one that there is",
		Flags: append(project.Flags("f"),
			frame.Bool("leave it running in the background and print its name", "detach", "d"),
			frame.Bool("make it anew, even if the file asks for the same", "force-recreate"),
			frame.Bool("keep the one that there is, even if the file asks for another", "no-recreate"),
			frame.Bool("no warnings, and no word about images", "quiet", "q"),
		),
		Action: upAction,
		Description: `# The sandbox of ./openshell.toml, in the background
openshell-vm up -d

# That of another directory; what its file asks of this host has been read
openshell-vm up -f ../agent --trust`,
	}
}

func downCommand() *cli.Command {
	return &cli.Command{
		Name: "down", Usage: "stop and remove the sandbox of openshell.toml; volumes stay",
		Flags: []cli.Flag{project.File("f"), graceFlag()}, Action: downAction,
		Description: `# The sandbox of ./openshell.toml
openshell-vm down`,
	}
}

func upAction(c *cli.Context) error {
	if err := cmdline.None(c); err != nil {
		return err
	}
	if c.Bool("force-recreate") && c.Bool("no-recreate") {
		return say.Errorf("leave one of them out", "--force-recreate and --no-recreate are both given")
	}
	p, err := project.Load(c.String("project"))
	if err != nil {
		return err
	}
	if err := p.Agree(c.Bool("trust")); err != nil {
		return err
	}
	u := &upping{detach: c.Bool("detach"), quiet: c.Bool("quiet")}
	if u.request, u.policy, err = p.Request(u.quiet); err != nil {
		return err
	}
	if u.session, err = session.New(u.request.Stdin && !u.detach, u.request.Process.Terminal); err != nil {
		return err
	}
	defer u.session.Close()
	u.request.Process.Size = u.session.Size()
	err = u.session.Interruptible(c.Context, func(ctx context.Context) (err error) {
		if u.client, err = frame.Connect(ctx, u.session.Progress); err == nil {
			u.there, err = ofProject(ctx, u.client, p.Path)
		}
		return err
	})
	if err != nil {
		return err
	}
	return u.up(c, p.Plan)
}

// ofProject are the sandboxes that up made of a file, the newest first: one, unless it was
// interrupted.
func ofProject(ctx context.Context, client *api.Client, path string) ([]api.Sandbox, error) {
	list, err := client.List(ctx)
	list = slices.DeleteFunc(list, func(s api.Sandbox) bool { return s.Labels[project.LabelFile] != path })
	slices.SortFunc(list, func(a, b api.Sandbox) int { return b.CreatedAt.Compare(a.CreatedAt) })
	return list, err
}

// upping is one call of up.
type upping struct {
	request       api.CreateRequest
	policy        api.PullPolicy
	detach, quiet bool
	session       *session.Session
	client        *api.Client
	there         []api.Sandbox
}

// up makes the sandbox, or makes it anew, or takes the one that there is.
func (u *upping) up(c *cli.Context, plan string) error {
	if len(u.there) == 0 {
		return u.makeNew(c, func() {})
	}
	old := u.there[0]
	same := old.Labels[project.LabelPlan] == plan
	switch {
	case !same && c.Bool("no-recreate"):
		say.Warn([]string{old.Name + " is left as it was made: " + project.FileName + " asks for another one since"})
	case !same || c.Bool("force-recreate"):
		if !same && !u.quiet {
			say.Warn([]string{project.FileName + " asks for another sandbox: " + old.Name + " is made anew, without what it wrote " +
				"outside of its mounts and volumes"})
		}
		return u.replace(c)
	}
	return u.resume(c, old)
}

// makeNew makes a sandbox and starts it. made is called as soon as it runs.
func (u *upping) makeNew(c *cli.Context, made func()) error {
	_, sandbox, err := create(c.Context, u.session, u.client, u.request, u.policy, u.quiet)
	if err != nil {
		return nameTaken(err)
	}
	if !u.detach {
		return foreground(c.Context, u.session, u.client, sandbox, made, u.request.AutoRemove)
	}
	say.Warn(slices.Concat(u.client.Met().Advice, u.client.Met().Short))
	started, err := startNew(c.Context, u.session, u.client, sandbox)
	if err != nil {
		return err
	}
	if err := couldNotRun(started); err != nil {
		return withCleanup(err, takeBack(u.session, u.client, sandbox))
	}
	made()
	return frame.Done(c, sandbox.Name, nil)
}

// nameTaken says of a conflict of names where the name comes from.
func nameTaken(err error) error {
	var answer *api.Error
	if !errors.As(err, &answer) || answer.Code != api.CodeConflict || !strings.Contains(answer.Hint, "--name") {
		return err
	}
	return say.Errorf(`write name = "…" in `+project.FileName+", or remove that one: openshell-vm rm -f", "%v", err)
}

// replace makes the sandbox anew. Until the new one runs the old ones are only stopped, and have
// other names: if it doesn't come to run, the newest is as it was.
func (u *upping) replace(c *cli.Context) error {
	ctx := context.WithoutCancel(c.Context)
	runs := false
	err := u.giveWay(ctx)
	if err == nil {
		err = u.makeNew(c, func() {
			runs = true
			for _, s := range u.there {
				if err := u.client.Remove(ctx, s.ID, true); err != nil && !gateways.NotFound(err) {
					say.Warn([]string{fmt.Sprintf("the former sandbox is still there: %v; %s down removes both", err, say.Program)})
				}
			}
		})
	}
	if runs {
		return err
	}
	return withCleanup(err, u.restore(ctx, u.there[0]))
}

// giveWay stops the sandboxes that are there, and takes the name from the one that has it.
func (u *upping) giveWay(ctx context.Context) error {
	u.session.Progress.Step("stopping " + u.there[0].Name)
	defer u.session.Progress.Done()
	for _, s := range u.there {
		_, err := u.client.Stop(ctx, s.ID, usualGrace)
		if err == nil && s.Name == u.request.Name {
			_, err = u.client.Rename(ctx, s.ID, formerName(s))
		}
		if err != nil && !gateways.NotFound(err) {
			return err
		}
	}
	return nil
}

// formerName is what a sandbox is called while another one takes its place.
func formerName(s api.Sandbox) string {
	return s.Name[:min(len(s.Name), 50)] + "-" + s.ID[:min(len(s.ID), 8)]
}

// restore gives a sandbox its name back, and starts it if it ran.
func (u *upping) restore(ctx context.Context, old api.Sandbox) error {
	now, err := u.client.Get(ctx, old.ID)
	if err == nil && now.Name != old.Name {
		_, err = u.client.Rename(ctx, old.ID, old.Name)
	}
	if err == nil && active(old) && !active(now) {
		_, err = u.client.Start(ctx, old.ID)
	}
	if gateways.NotFound(err) { // it was to be removed at its end
		return nil
	}
	return err
}

func active(s api.Sandbox) bool { return s.State == api.StateRunning || s.State == api.StateStarting }

// resume starts a sandbox that is there, if it doesn't run, and attaches to it.
func (u *upping) resume(c *cli.Context, s api.Sandbox) error {
	ctx := c.Context
	if s.Name != u.request.Name && s.Labels[project.LabelPlan] == u.request.Labels[project.LabelPlan] {
		renamed, err := u.client.Rename(ctx, s.ID, u.request.Name) // an interrupted up left it
		if err != nil {
			return nameTaken(err)
		}
		s.Name = renamed.Name
	}
	begin := func() error {
		if active(s) {
			return nil
		}
		return u.session.Interruptible(ctx, func(ctx context.Context) error {
			defer u.session.Progress.FollowStart(ctx, u.client, "starting "+s.Name, s.ID)()
			started, err := u.client.Start(ctx, s.ID)
			if err == nil && u.detach {
				err = couldNotRun(started)
			}
			return err
		})
	}
	if u.detach {
		return frame.Done(c, s.Name, begin())
	}
	attached := u.session.Attach(ctx, u.client, s.ID)
	if !active(s) {
		if err := u.session.Connected(attached); err != nil {
			return err
		}
		if err := begin(); err != nil {
			return err
		}
	}
	if err := u.session.Live(); err != nil {
		return err
	}
	return u.session.Farewell(u.session.Follow(ctx, u.client, attached, s), s.Name)
}

// downAction needs no file that can be read: whose sandbox it is says its path.
func downAction(c *cli.Context) error {
	if err := cmdline.None(c); err != nil {
		return err
	}
	path, err := project.Find(c.String("project"))
	if err != nil {
		return err
	}
	p := say.NewProgress(os.Stderr)
	client, err := frame.Connect(c.Context, p)
	if err != nil {
		return err
	}
	list, err := ofProject(c.Context, client, path)
	if err != nil {
		return err
	}
	if _, missing := os.Stat(path); len(list) == 0 && errors.Is(missing, fs.ErrNotExist) {
		return say.Errorf("go to its directory, or name it with --project FILE", "there is no %s, and no sandbox of it", path)
	}
	grace := time.Duration(*c.Generic("time").(*grace))
	return frame.RemoveAll(c, list, func(s api.Sandbox) (string, error) {
		defer p.Done()
		p.Step("removing " + s.Name)
		if _, err := client.Stop(c.Context, s.ID, grace); err != nil {
			return s.Name, fmt.Errorf("stop %s: %w", s.Name, err)
		}
		return s.Name, client.Remove(c.Context, s.ID, true)
	})
}
