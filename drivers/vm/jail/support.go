package jail

import (
	"errors"
	"os"
	"strconv"
	"strings"

	"openshell-vm/internal/fault"
)

// apparmorProfile is a file in the source tree. It names the programs by path.
const apparmorProfile = "examples/openshell-vm.apparmor"

// Support makes a trial jail and reports what it had. Its Missing is what this host
// can't give to this user. An error means that no jail can be made at all; it has a hint
// if the reason is known. self is as for Command.
func Support(self string) (Report, error) {
	sweepCgroups()
	c, err := command(self, setup{Trial: true, Config: Config{
		Name: "trial-" + strconv.Itoa(os.Getpid()), Profile: Strict, Proc: true, Devices: []string{os.DevNull}, Tasks: minTasks,
	}})
	if err != nil {
		return Report{}, err
	}
	if err := c.Start(); err != nil {
		return Report{}, err
	}
	r, err := c.Report()
	if end := c.Wait(); err == nil && end != nil {
		err = failure(end)
	}
	return r, err
}

// told is the error in a jail's last message.
func told(m message) error {
	if m.Hint == "" {
		return failure(errors.New(m.Error))
	}
	return &fault.Error{Op: "start the jail", Err: errors.New(m.Error), Hint: m.Hint}
}

// failure makes err an error for users. For an ordinary user it is mostly the user
// namespace that fails: nothing else can be made without it.
func failure(err error) error {
	e := &fault.Error{Op: "start the jail", Err: err}
	if os.Geteuid() != 0 {
		e.Hint = userNamespaceHint(os.ReadFile)
	}
	return e
}

// userNamespaceHint looks for the settings with which systems forbid ordinary users to
// make user namespaces.
func userNamespaceHint(readFile func(string) ([]byte, error)) string {
	for _, s := range []struct{ file, forbids, hint string }{
		{"/proc/sys/user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=10000 allows user namespaces"},
		{"/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1 allows user namespaces"},
		{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1",
			"AppArmor forbids user namespaces: install the profile " + apparmorProfile + ", whose first lines say how, " +
				"or allow them to all: sysctl kernel.apparmor_restrict_unprivileged_userns=0"},
	} {
		value, err := readFile(s.file)
		if errors.Is(err, os.ErrNotExist) && s.file == "/proc/sys/user/max_user_namespaces" {
			return "the kernel was built without user namespaces"
		}
		if err == nil && strings.TrimSpace(string(value)) == s.forbids {
			return s.hint
		}
	}
	return ""
}
