package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"openshell-vm/gateway/api"
)

// shareCreateAction prints one line, so that a shell can put it in place:
// args=$(openshell-vm share create NAME) && docker run $args IMAGE.
func shareCreateAction(c *cli.Context) error {
	asJSON, err := wantJSON(c)
	if err != nil {
		return err
	}
	name, err := oneArg(c)
	if err != nil {
		return err
	}
	ttl, err := lifetime(c)
	if err != nil {
		return err
	}
	client, err := connect(c.Context, newProgress(os.Stderr))
	if err != nil {
		return err
	}
	share, err := client.CreateShare(c.Context, api.ShareRequest{Name: name, TTL: ttl, Ignore: c.Bool("ignore")})
	if err != nil {
		return err
	}
	warn(slices.Concat(share.Warnings, client.Met().Advice, client.Met().Short))
	switch {
	case asJSON:
		return printJSON(c.App.Writer, share)
	case c.Bool("quiet"):
		_, err = fmt.Fprintln(c.App.Writer, share.Dir)
	default:
		_, err = fmt.Fprintln(c.App.Writer, strings.Join(runArgs(share, selinux()), " "))
	}
	return err
}

// failedArg is an option that no engine has.
const failedArg = "--openshell-vm-share-create-failed"

// failClosed prints it in the place of a failed share create's arguments. With
// nothing there, `docker run $(openshell-vm share create NAME) IMAGE` would run the
// container without a token, and say nothing. Where this program is missing or killed
// it still does, so README's form asks for the exit code, too. A script that asked for
// the directory or for JSON, and a person, get nothing.
func failClosed(out *os.File, args []string, err error) {
	if err == nil || len(args) < 3 || args[1] != "share" || args[2] != "create" || term.IsTerminal(int(out.Fd())) {
		return
	}
	for _, arg := range args[3:] {
		if arg == "-q" || arg == "--quiet" || strings.HasSuffix(arg, "json") {
			return
		}
	}
	fmt.Fprintln(out, failedArg)
}

// runArgs are the arguments that give a container the share, the same for
// docker and podman. None holds a character that a shell would not pass on: the
// gateway makes no share in a directory with such a name. Where SELinux keeps
// containers from unlabelled files, only --volume can ask both for the label.
func runArgs(s api.Share, selinux bool) []string {
	args := []string{"--mount", "type=bind,src=" + s.Dir + ",dst=" + s.Target + ",readonly"}
	if selinux {
		args = []string{"--volume", s.Dir + ":" + s.Target + ":ro,z"}
	}
	for _, variable := range s.Env {
		args = append(args, "--env", variable)
	}
	return args
}

// selinux says whether the host's kernel enforces it.
func selinux() bool {
	enforcing, err := os.ReadFile("/sys/fs/selinux/enforce")
	return err == nil && strings.TrimSpace(string(enforcing)) == "1"
}

func shareListAction(c *cli.Context) error {
	all := func(client *api.Client) ([]api.Share, error) { return client.Shares(c.Context) }
	return list(c, all, func(s api.Share) string { return s.Name }, shareTable)
}

func shareTable(list []api.Share, now time.Time) *table {
	t := newTable("NAME~16", "TOKEN~16", "DIRECTORY")
	for _, s := range list {
		t.add(s.Name, shareFreshness(s, now), s.Dir)
	}
	return t
}

// shareFreshness is a share's as a running sandbox's: its container may run.
func shareFreshness(s api.Share, now time.Time) string {
	if s.Problem != "" {
		return "unknown: " + oneLine(s.Problem)
	}
	return freshness(api.Sandbox{State: api.StateRunning, Token: s.Token}, now)
}

func shareInspectAction(c *cli.Context) error {
	return inspect(c, (*api.Client).Share, shareFacts)
}

// shareFacts are share inspect's lines.
func shareFacts(s api.Share, now time.Time) []api.Fact {
	facts := []api.Fact{
		{Name: "Name", Value: s.Name},
		{Name: "ID", Value: s.ID},
		{Name: "Sandbox of", Value: s.Driver},
		{Name: "Created", Value: moment(s.CreatedAt)},
		{Name: "Directory", Value: s.Dir},
		{Name: "Files", Value: strings.Join(s.Files, ", ")},
	}
	if s.Driver == "" {
		facts = append(facts, api.Fact{Name: "Arguments", Value: strings.Join(runArgs(s, selinux()), " ")})
	}
	for _, w := range s.Warnings {
		facts = append(facts, api.Fact{Name: "Warning", Value: w})
	}
	facts = append(facts, api.Fact{Name: "Token", Value: shareFreshness(s, now)}, api.Fact{Name: "Lifetime", Value: s.TTL.String()})
	return append(facts, tokenFacts(s.Token)...)
}

func shareRmAction(c *cli.Context) error {
	force := c.Bool("force")
	return forEach(c, "removing", func(ctx context.Context, client *api.Client, ref string) error {
		err := client.RemoveShare(ctx, ref, force)
		if force && notFound(err) {
			return nil
		}
		return done(c, ref, err)
	})
}

// sharePutAction publishes all that is named in one generation.
func sharePutAction(c *cli.Context) error {
	args, err := someArgs(c)
	if err != nil {
		return err
	}
	request := api.FilesRequest{Remove: c.StringSlice("remove")}
	if request.Files, err = readFiles(args[1:]); err != nil {
		return err
	}
	if len(request.Files)+len(request.Remove) == 0 {
		return usage(appName+" share put --help explains it", "share put needs a file")
	}
	client, err := connect(c.Context, newProgress(os.Stderr))
	if err != nil {
		return err
	}
	share, err := client.PutFiles(c.Context, args[0], request)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.App.Writer, share.Token.Generation)
	return err
}

// readFiles reads [NAME=]FILE each; without a NAME it is the file's own. As
// FILE, - is standard input.
func readFiles(args []string) (map[string][]byte, error) {
	files := map[string][]byte{}
	left := api.MaxFilesSize
	for _, arg := range args {
		name, path, named := strings.Cut(arg, "=")
		if !named {
			name, path = filepath.Base(arg), arg
		}
		if name == "-" {
			return nil, usage("give it a name: NAME=-", "standard input has no name of its own")
		}
		if _, twice := files[name]; twice {
			return nil, usage("give each a name of its own: NAME=FILE", "two files are called %q", name)
		}
		data, err := readFile(path, left)
		switch {
		case errors.Is(err, errTooLarge):
			return nil, usage("mount a directory of your own for more: --mount, or docker's --volume",
				"%s is too large: all files of a share together have at most %d KiB", path, api.MaxFilesSize>>10)
		case err != nil:
			return nil, usage("give readable files, as FILE or NAME=FILE", "read the file: %v", err)
		}
		files[name] = data
		left -= len(data)
	}
	return files, nil
}

var errTooLarge = errors.New("too large")

// readFile reads a file of at most so many bytes.
func readFile(path string, most int) ([]byte, error) {
	f := os.Stdin
	if path != "-" {
		var err error
		if f, err = os.Open(path); err != nil {
			return nil, err
		}
		defer f.Close()
	}
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, fmt.Errorf("%s is not a file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, int64(most)+1))
	if err == nil && len(data) > most {
		err = errTooLarge
	}
	return data, err
}
