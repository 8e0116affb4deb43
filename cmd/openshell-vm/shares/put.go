package shares

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/frame"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/gateway/api"
)

func putCommand() *cli.Command {
	return &cli.Command{
		Name: "put", ArgsUsage: cmdline.ShareFiles,
		Usage: "publish files (- is standard input) beside the token, a sandbox's too, and print their generation",
		Flags: []cli.Flag{&cli.StringSliceFlag{Name: "remove", Usage: "take the file `NAME` away (repeatable)"},
			frame.Bool("wait until all who have the share mounted see it; exit with 1 if they do not in time", "wait"),
			&cli.DurationFlag{Name: "wait-timeout", Usage: "--wait, and give up after `DURATION`, such as 30s", DefaultText: usualWait}},
		Action: putAction,
		Description: `# A file beside the token, under another name and in a directory, one that is piped
openshell-vm share put agent agent.yaml
openshell-vm share put agent config=./agent.prod.yaml aws/credentials=./credentials
date | openshell-vm share put agent date=-

# Go on once the sandbox sees it
openshell-vm share put --wait box settings.yaml`,
	}
}

// putAction publishes all files in one generation.
func putAction(c *cli.Context) error {
	args, err := cmdline.Some(c)
	if err != nil {
		return err
	}
	request := api.FilesRequest{Remove: c.StringSlice("remove")}
	if request.Files, err = readFiles(args[1:]); err != nil {
		return err
	}
	if len(request.Files)+len(request.Remove) == 0 {
		return say.Errorf(say.Program+" share put --help explains it", "share put needs a file")
	}
	timeout, err := waitTime(c, "wait-timeout")
	if err != nil {
		return err
	}
	progress := say.NewProgress(os.Stderr)
	client, err := frame.Connect(c.Context, progress)
	if err != nil {
		return err
	}
	share, err := client.Shares.Put(c.Context, args[0], request)
	if err != nil {
		return err
	}
	if _, err = fmt.Fprintln(c.App.Writer, share.Token.Generation); err != nil || !c.Bool("wait") && timeout == 0 {
		return err
	}
	_, err = awaitSeen(c.Context, client, progress, share.ID, api.SeenRequest{Generation: share.Token.Generation, Timeout: timeout})
	return err
}

// readFiles reads [NAME=]FILE each. Without a NAME the file keeps its own. A FILE that is
// - is standard input.
func readFiles(args []string) (map[string][]byte, error) {
	files := map[string][]byte{}
	left := api.MaxFilesSize
	for _, arg := range args {
		name, path, named := strings.Cut(arg, "=")
		if !named {
			name, path = filepath.Base(arg), arg
		}
		if name == "-" {
			return nil, say.Errorf("give it a name: NAME=-", "standard input has no name of its own")
		}
		if _, twice := files[name]; twice {
			return nil, say.Errorf("give each a name of its own: NAME=FILE", "two files are called %q", name)
		}
		data, err := readFile(path, left)
		switch {
		case errors.Is(err, errTooLarge):
			return nil, say.Errorf("mount a directory of your own for more: --mount, or docker's --volume",
				"%s is too large: all files of a share together have at most %d KiB", path, api.MaxFilesSize>>10)
		case err != nil:
			return nil, say.Errorf("give readable files, as FILE or NAME=FILE", "read the file: %v", err)
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
