package vm

import (
	"fmt"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/host"
	"openshell-vm/drivers/vm/hypervisor/all"
)

// BootDeadlineEnv is the environment variable for Config.BootDeadline, such as 45s.
// WithEnvironment also reads those of package host and of the hypervisors.
const BootDeadlineEnv = "OPENSHELL_BOOT_DEADLINE"

// WithEnvironment returns c with the user's choices from environment variables. getenv
// looks them up; in a program it is os.Getenv.
func (c Config) WithEnvironment(getenv func(string) string) (Config, error) {
	c.BusyBox = getenv(host.BusyBoxEnv)
	c.RequireJail = c.RequireJail || getenv(host.RequireJailEnv) == "1"
	var err error
	if c.Hypervisors, err = all.New(getenv); err != nil {
		return c, err
	}
	if text := getenv(BootDeadlineEnv); text != "" {
		limit, err := time.ParseDuration(text)
		if err != nil || limit <= 0 {
			return c, &drivers.Error{Op: "read " + BootDeadlineEnv, Err: fmt.Errorf("%q is not understood", text),
				Hint: "use a time such as 45s"}
		}
		c.BootDeadline = limit
	}
	return c, nil
}
