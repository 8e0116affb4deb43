package request

import (
	"bufio"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/frame"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/gateway/api"
)

// ProcessFlags are those of a command in a sandbox: run, create and exec.
func ProcessFlags() []cli.Flag {
	return []cli.Flag{
		frame.Bool("connect standard input", "interactive", "i"),
		frame.Bool("with a terminal; ctrl-p ctrl-q detaches from it", "tty", "t"),
		&cli.StringSliceFlag{Name: "env", Aliases: []string{"e"}, Usage: "set `K=V`, or K as it is here (repeatable)"},
		&cli.StringSliceFlag{Name: "env-file", Usage: "read K=V lines from `FILE` (repeatable)"},
		&cli.StringFlag{Name: "user", Aliases: []string{"u"}, Usage: "run as `USER[:GROUP]`"},
		&cli.StringFlag{Name: "workdir", Aliases: []string{"w"}, Usage: "run in `DIR` of the sandbox"},
	}
}

// Process reads ProcessFlags, for a command of these words.
func Process(c *cli.Context, args []string) (api.Process, error) {
	env, err := environment(c.StringSlice("env-file"), c.StringSlice("env"))
	return api.Process{
		Args: args, Env: env, Dir: c.String("workdir"), User: c.String("user"), Terminal: c.Bool("tty"),
	}, err
}

// environment reads the files, then the flags. Of two settings of a name the later one
// counts. A name without a value takes this process's, if it has one.
func environment(files, settings []string) ([]string, error) {
	var lines []string
	for _, file := range files {
		more, err := EnvFile(file)
		if err != nil {
			return nil, err
		}
		lines = append(lines, more...)
	}
	var env []string
	at := map[string]int{}
	for _, line := range append(lines, settings...) {
		name, _, hasValue := strings.Cut(line, "=")
		if name == "" || strings.ContainsAny(name, " \t\n\x00") || strings.Contains(line, "\x00") {
			return nil, say.Errorf("write NAME=VALUE", "environment %q is malformed", line)
		}
		if !hasValue {
			value, set := os.LookupEnv(name)
			if !set {
				continue
			}
			line = name + "=" + value
		}
		if i, again := at[name]; again {
			env[i] = line
			continue
		}
		at[name] = len(env)
		env = append(env, line)
	}
	return env, nil
}

// EnvFile gives the lines of a file of --env-file, without comments and empty ones. A line may be a
// name alone.
func EnvFile(name string) ([]string, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, say.Errorf("give a readable file with lines NAME=VALUE", "environment file: %v", err)
	}
	defer f.Close()
	var lines []string
	for s := bufio.NewScanner(f); ; {
		if !s.Scan() {
			if err := s.Err(); err != nil {
				return nil, say.Errorf("give a text file with lines NAME=VALUE", "environment file %s: %v", name, err)
			}
			return lines, nil
		}
		if line := strings.TrimLeft(s.Text(), " \t"); line != "" && line[0] != '#' {
			lines = append(lines, line)
		}
	}
}
