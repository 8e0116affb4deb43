package project

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/frame"
)

// Flags name a project file and give consent to it.
func Flags(aliases ...string) []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: fileFlag, Aliases: aliases, TakesFile: true,
			Usage: "the project `FILE`, or the directory of its " + FileName + "; relative paths, also of flags, are of its directory"},
		Trust(),
	}
}

// File is the flag that names a project file.
func File(aliases ...string) cli.Flag { return Flags(aliases...)[0] }

// Trust is the flag that gives consent.
func Trust() cli.Flag {
	return frame.Bool("consent to what the project file asks of this host, for as long as it asks for nothing else", "trust")
}

const fileFlag = "project"

// Splice puts a project file's settings into a command line in Arrange's form: before the flags,
// so that a flag goes before a setting, and lists are added to. The name is not taken: each run is
// a sandbox of its own. A command line that names no project file is left as it is.
func Splice(arranged []string) ([]string, error) {
	if len(arranged) < 3 || arranged[1] != "run" && arranged[1] != "create" {
		return arranged, nil
	}
	end := slices.Index(arranged, "--")
	if end < 0 {
		return arranged, nil
	}
	flags, command := arranged[2:end], arranged[end+1:]
	file, trust := "", false
	for _, f := range flags {
		if name, is := strings.CutPrefix(f, "--"+fileFlag+"="); is {
			file = name
			if file == "" {
				file = "."
			}
		}
		trust = trust || f == "--trust" || f == "--trust=true"
	}
	if file == "" || slices.Contains(flags, "--help") {
		return arranged, nil
	}
	p, err := Load(file)
	if err != nil {
		return nil, err
	}
	if err := p.Agree(trust); err != nil {
		return nil, err
	}
	settings := slices.DeleteFunc(slices.Clone(p.Args), func(a string) bool { return strings.HasPrefix(a, "--name=") })
	if len(command) == 0 {
		command = p.Command
	}
	return slices.Concat(arranged[:2], settings, flags, []string{"--"}, command), nil
}
