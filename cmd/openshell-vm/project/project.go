// Package project reads openshell.toml: what run, create and up are asked for, in a file.
//
// A key is a long flag of run, and its value what the flag takes: the keys are made of the flags,
// so that a new flag is a new key. A file is read strictly, and judged by what its words ask for
// once they are read as flags are, not by the words.
//
// A file may come from anybody: with a cloned repository, or from the sandbox that has the
// directory mounted. So what it asks of the host needs its user's consent, which is kept outside
// of all that a sandbox can write, and ends when the file asks for something else.
package project

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/images"
	"openshell-vm/cmd/openshell-vm/request"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/gateway/api"
	"openshell-vm/internal/plainfile"
	"openshell-vm/internal/text"
)

// FileName is what a project file is called in a directory that is named.
const FileName = "openshell.toml"

// maxFile bounds a project file, and each file of lines that it names; bytes.
const maxFile = 64 << 10

// Labels of a sandbox that up made. A file can't set them.
const (
	LabelFile = "openshell-vm.project" // the file's path
	LabelPlan = "openshell-vm.plan"    // Project.Plan
)

// Project is what one file asks for.
type Project struct {
	Path    string   // of the file; absolute, and printable
	Name    string   // of up's sandbox: the file's word, or that of the directory
	Args    []string // flags, each as --name=value; relative paths are those of the file's directory
	Command []string
	Plan    string // a hash of all of it: two files with the same one ask for the same

	asks    []string // what needs consent, one line each
	places  []int    // the lines of the file on which it is asked; 0 where that is none
	lines   []string // all of it, one line each
	written bool     // the sandbox that it asks for can write the file
}

// Find is where a file is: that name, or FileName in that directory; "" is the current directory.
// It need not be there.
func Find(named string) (string, error) {
	path := named
	if info, err := os.Stat(named); named == "" || err == nil && info.IsDir() {
		path = filepath.Join(named, FileName)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil { // one name for one file
		path = filepath.Join(dir, filepath.Base(path))
	}
	if text.Line(path) != path {
		return "", say.Errorf("rename it, or its directory", "the path of %q has characters that can't be shown", filepath.Base(path))
	}
	return path, nil
}

// Load reads a file, and judges it. The current directory is the file's from then on, as with
// make -C: whatever has a relative path is read there.
func Load(named string) (*Project, error) {
	path, err := Find(named)
	if err != nil {
		return nil, err
	}
	content, err := plainfile.Read(path, maxFile)
	switch {
	case errors.Is(err, fs.ErrNotExist) && named == "":
		return nil, say.Errorf("write one, or name another with --project FILE", "there is no %s in this directory", FileName)
	case errors.Is(err, fs.ErrNotExist):
		return nil, say.Errorf("name a project file, or a directory with an "+FileName, "there is no %s", path)
	case err != nil:
		return nil, say.Errorf("a project file is a text of at most 64 KiB", "read the project file: %v", err)
	}
	settings, err := parse(path, content)
	if err != nil {
		return nil, err
	}
	if err := os.Chdir(filepath.Dir(path)); err != nil {
		return nil, say.Errorf("make its directory accessible", "read the project file: %v", err)
	}
	p := &Project{Path: path, Name: nameOf(filepath.Dir(path))}
	if err := p.take(settings); err != nil {
		return nil, err
	}
	plan, err := json.Marshal([]any{p.Path, p.Name, p.Args, p.Command, p.asks})
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(plan)
	p.Plan = hex.EncodeToString(sum[:])
	return p, nil
}

// take reads the settings, each by itself, so that what is wrong with one has its line, and then
// all together.
func (p *Project) take(settings []setting) error {
	place, err := newPlace(p.Path)
	if err != nil {
		return err
	}
	p.asks, p.places = place.whose, make([]int, len(place.whose))
	var files []string // what stands in files is overridden by what stands here
	for _, s := range settings {
		p.lines = append(p.lines, s.shown())
		if s.key == commandKey {
			p.Command = append(p.Command, s.text)
			continue
		}
		args, asks, err := s.args(place)
		if err != nil {
			return s.wrong(err)
		}
		q, _, err := read(append(args, "--quiet"), nil)
		if err != nil {
			return s.wrong(err)
		}
		if s.key == "name" {
			p.Name = q.Name
		}
		for _, own := range []string{LabelFile, LabelPlan} {
			if _, set := q.Labels[own]; set {
				return s.wrong(say.Errorf("choose another name for it", "the label %s is up's own", own))
			}
		}
		more, written := place.judge(s, q)
		for _, a := range append(asks, more...) {
			p.asks, p.places = append(p.asks, a), append(p.places, s.line)
		}
		p.written = p.written || written
		if s.ofFiles() {
			files = append(files, args...)
		} else {
			p.Args = append(p.Args, args...)
		}
	}
	p.Args = append(files, p.Args...)
	if _, _, err := read(append(p.Args[:len(p.Args):len(p.Args)], "--quiet"), p.Command); err != nil {
		return inFile(p.Path, 0, err)
	}
	return nil
}

// Request is what up asks the gateway for. The sandbox has the labels by which it is found again.
// Warnings are printed, unless it is to be quiet.
func (p *Project) Request(quiet bool) (api.CreateRequest, api.PullPolicy, error) {
	args := p.Args
	if quiet {
		args = append(slices.Clone(args), "--quiet")
	}
	q, policy, err := read(args, p.Command)
	if err != nil {
		return q, policy, inFile(p.Path, 0, err)
	}
	if q.Labels == nil {
		q.Labels = map[string]string{}
	}
	q.Name, q.Labels[LabelFile], q.Labels[LabelPlan] = p.Name, p.Path, p.Plan
	return q, policy, nil
}

// read reads flags in Arrange's form as create does.
func read(args, command []string) (q api.CreateRequest, policy api.PullPolicy, err error) {
	const name = "create"
	app := &cli.App{
		Name: say.Program, HideHelp: true, HideVersion: true, DisableSliceFlagSeparator: true,
		ExitErrHandler: func(*cli.Context, error) {},
		Commands: []*cli.Command{{
			Name: name, Flags: request.Flags(), HideHelp: true, ArgsUsage: cmdline.NewCommand,
			OnUsageError: func(_ *cli.Context, err error, _ bool) error {
				return say.Errorf(say.Program+" create --help explains it", "%s", strings.Replace(err.Error(), "for flag -", "for ", 1))
			},
			Action: func(c *cli.Context) (err error) {
				q, err = request.Read(c)
				policy = images.PullPolicy(c)
				return err
			},
		}},
	}
	line := append([]string{say.Program, name}, args...)
	err = app.Run(append(append(line, "--"), command...))
	return q, policy, err
}

// notInName is what a sandbox's name can't have.
var notInName = regexp.MustCompile(`[^a-zA-Z0-9_.-]+`)

// nameOf makes a name of a directory's; "sandbox" if nothing of it can be one.
func nameOf(dir string) string {
	name := strings.TrimLeft(notInName.ReplaceAllString(filepath.Base(dir), "-"), "_.-")
	if name = name[:min(len(name), 40)]; name == "" {
		return "sandbox"
	}
	return name
}
