package krun

// SetExec says what libkrun's init runs: path in the guest, arguments after it,
// and the whole environment. All of it travels on the guest's kernel command
// line, where everybody in the guest can read it: put no secret there. It has
// room for 1,320 bytes in all; what is longer, or has double quotes or
// characters other than printable ASCII, belongs into a file.
//
// The init runs the command as its child and hands its exit code out, or, with
// KRUN_INIT_PID1=1 in the environment, becomes it.
func (c *Context) SetExec(path string, args, env []string) error {
	return c.apply(change{
		f:    setExec,
		args: []arg{str(path), vec(args), vec(env)},
		text: len("KRUN_INIT=") + len(path) + quotedSize(args) + quotedSize(env),
		check: func(symbol string) error {
			if path == "" {
				return invalid(symbol, "the path is empty")
			}
			if err := checkWord(symbol, path); err != nil {
				return err
			}
			for _, a := range args {
				if err := checkQuoted(symbol, a); err != nil {
					return err
				}
			}
			return checkEnv(symbol, env)
		},
		remember: func() { delete(c.text, setEnv) },
	})
}

// SetEnv replaces the environment of what the guest runs. Nil is an empty one.
func (c *Context) SetEnv(env []string) error {
	return c.apply(change{f: setEnv, args: []arg{vec(env)}, text: quotedSize(env),
		check: func(symbol string) error { return checkEnv(symbol, env) }})
}

// SetWorkdir sets the working directory, a path in the guest.
func (c *Context) SetWorkdir(dir string) error {
	return c.apply(change{f: setWorkdir, args: []arg{str(dir)}, text: len("KRUN_WORKDIR=") + len(dir),
		check: func(symbol string) error { return checkWord(symbol, dir) }})
}

// SetRlimits sets resource limits, each as "RESOURCE=SOFT:HARD" with the number
// or the RLIMIT_ name of the resource.
func (c *Context) SetRlimits(limits []string) error {
	return c.apply(change{f: setRlimits, args: []arg{vec(limits)}, text: len("KRUN_RLIMITS=") + quotedSize(limits),
		check: func(symbol string) error {
			for _, l := range limits {
				if err := checkWord(symbol, l); err != nil {
					return err
				}
			}
			return nil
		}})
}

// quotedSize is how many bytes strings take, in quotes and with a space each.
func quotedSize(strings []string) int {
	n := 0
	for _, s := range strings {
		n += len(s) + len(`"" `)
	}
	return n
}
