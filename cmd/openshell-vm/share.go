package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
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
// docker run $(openshell-vm share create NAME) IMAGE.
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
	warn(slices.Concat(share.Warnings, client.Met().Advice))
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
// container without a token, and say nothing. A script that asked for the directory
// or for JSON, and a person, get nothing.
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
	return freshness(api.Sandbox{State: "running", Token: s.Token}, now)
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
		err := client.RemoveShare(ctx, ref)
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

// maxFile is in bytes, and more than the gateway takes: it has the word.
const maxFile = 600 << 10

// readFiles reads [NAME=]FILE each; without a NAME it is the file's own.
func readFiles(args []string) (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, arg := range args {
		name, path, named := strings.Cut(arg, "=")
		if !named {
			name, path = filepath.Base(arg), arg
		}
		if _, twice := files[name]; twice {
			return nil, usage("give each a name of its own: NAME=FILE", "two files are called %q", name)
		}
		data, err := readFile(path)
		if err != nil {
			return nil, usage("give readable files, as FILE or NAME=FILE", "read the file: %v", err)
		}
		files[name] = data
	}
	return files, nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && !info.Mode().IsRegular() && info.Mode()&fs.ModeNamedPipe == 0 {
		return nil, fmt.Errorf("%s is not a file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = errors.New(path + " is too large for a share")
	}
	return data, err
}
