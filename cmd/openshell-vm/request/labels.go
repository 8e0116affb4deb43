package request

import (
	"os"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/gateway/api"
)

// keepFlags are about a sandbox's life: how it is found, and what its end means.
func keepFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "label", Aliases: []string{"l"}, Usage: "give it the label `NAME[=VALUE]` (repeatable)"},
		&cli.StringSliceFlag{Name: "label-file", Usage: "read labels, one a line, from `FILE` (repeatable)"},
		RestartFlag(),
	}
}

// RestartFlag is --restart; RestartPolicy reads its value.
func RestartFlag() cli.Flag {
	return &cli.StringFlag{Name: "restart", Usage: "start it again by `POLICY` when it ends: no, on-failure[:N], always, unless-stopped",
		DefaultText: "no"}
}

// readKeep reads keepFlags.
func readKeep(c *cli.Context, r *api.CreateRequest) (err error) {
	if r.Labels, err = labels(c.StringSlice("label-file"), c.StringSlice("label")); err != nil {
		return err
	}
	r.Restart, err = RestartPolicy(c.String("restart"))
	return err
}

// labels reads the files, then the flags. Of two values of a name the later one counts.
func labels(files, settings []string) (map[string]string, error) {
	var lines []string
	for _, file := range files {
		more, err := LabelFile(file)
		if err != nil {
			return nil, err
		}
		lines = append(lines, more...)
	}
	if lines = append(lines, settings...); len(lines) == 0 {
		return nil, nil
	}
	all := map[string]string{}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, "=")
		if name == "" {
			return nil, say.Errorf("write --label NAME=VALUE", "label %q is malformed", line)
		}
		all[name] = value
	}
	return all, nil
}

// LabelFile gives the lines of a file of --label-file, without comments and empty ones.
func LabelFile(name string) (lines []string, err error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, say.Errorf("give a readable file with lines NAME=VALUE", "label file: %v", err)
	}
	for _, line := range strings.Split(string(data), "\n") {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			lines = append(lines, line)
		}
	}
	return lines, nil
}

// RestartPolicy reads NAME[:N]. The gateway judges the name.
func RestartPolicy(text string) (api.RestartPolicy, error) {
	name, number, counted := strings.Cut(text, ":")
	p := api.RestartPolicy{Name: name}
	if !counted {
		return p, nil
	}
	n, err := strconv.Atoi(number)
	if err != nil || n < 0 {
		return p, say.Errorf("write a number of tries behind the colon, such as on-failure:3", "restart policy %q is malformed", text)
	}
	p.Max = n
	return p, nil
}
