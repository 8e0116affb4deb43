package frame

import (
	"time"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/cmd/openshell-vm/show"
)

// Flags that several commands have. They are made anew for each app: the parser leaves
// in them what it has read. A flag of one command is made beside it.

// Bool is one that is there or not.
func Bool(usage, name string, aliases ...string) cli.Flag {
	return &cli.BoolFlag{Name: name, Aliases: aliases, Usage: usage, DisableDefaultText: true}
}

// Output is --output. It has further names where docker gives it some.
func Output(further ...string) cli.Flag {
	return cmdline.Choice{Of: []string{"json", "text"}, StringFlag: &cli.StringFlag{Name: "output",
		Aliases: append([]string{"o", "format"}, further...),
		Usage: "as `FORMAT`: text for people, json, where durations are in nanoseconds, " +
			"or a Go template where there are several things to list",
		DefaultText: "text"}}
}

// WantFormat reads --output where a template may be given. format is "" for any other form.
func WantFormat(c *cli.Context) (asJSON bool, format string, err error) {
	if format = c.String("output"); show.IsTemplate(format) {
		return false, format, nil
	}
	asJSON, err = WantJSON(c)
	return asJSON, "", err
}

// WantJSON reads --output.
func WantJSON(c *cli.Context) (bool, error) {
	switch format := c.String("output"); format {
	case "json":
		return true, nil
	case "", "text", "table":
		return false, nil
	default:
		return false, say.Errorf("use -o json, for jq to choose from, or leave it out", "unknown output format %q", format)
	}
}

// NoTrunc keeps tables from being cut.
func NoTrunc() cli.Flag { return Bool("cut nothing to fit the terminal", "no-trunc") }

// TTL is --ttl; Lifetime reads it.
func TTL() cli.Flag {
	return &cli.DurationFlag{Name: "ttl", Usage: "`DURATION` such as 15m that its tokens live, renewed at half of it", DefaultText: "1h"}
}

// Lifetime reads --ttl; 0 leaves it to the gateway.
func Lifetime(c *cli.Context) (time.Duration, error) {
	ttl := c.Duration("ttl")
	if c.IsSet("ttl") && ttl <= 0 {
		return 0, say.Errorf("leave --ttl out for 1h, or give a lifetime such as 15m",
			"token lifetime %v: there is no token without expiry", ttl)
	}
	return ttl, nil
}
