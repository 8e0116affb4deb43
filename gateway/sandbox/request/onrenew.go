package request

import (
	"fmt"
	"strings"

	"openshell-vm/gateway/api"
	"openshell-vm/internal/vocab"
)

// maxOnRenew bounds a command's words in sum, in bytes. They are in the record.
const maxOnRenew = 8192

// checkOnRenew refuses what no driver could do inside a sandbox.
func checkOnRenew(q api.OnRenew) error {
	refuse := func(hint, format string, args ...any) error {
		return &api.Error{Code: api.CodeInvalid, Message: "on renewal: " + fmt.Sprintf(format, args...), Hint: hint}
	}
	if q.Signal != "" && len(q.Command) > 0 {
		return refuse("write --on-renew HUP or --on-renew COMMAND", "there are a signal and a command")
	}
	if _, ok := vocab.Signal(q.Signal); q.Signal != "" && !ok {
		return refuse("give a name such as HUP, or a number between 1 and 64", "there is no signal %q", q.Signal)
	}
	size := 0
	for _, word := range q.Command {
		if size += len(word) + 1; strings.ContainsRune(word, 0) {
			return refuse("leave it out", "the command has a NUL character in it")
		}
	}
	switch {
	case len(q.Command) > 0 && q.Command[0] == "":
		return refuse("write --on-renew 'PROGRAM ARG…'", "the command names no program")
	case size > maxOnRenew:
		return refuse("put a script into the sandbox", "a command of %d bytes is too long: at most %d", size, maxOnRenew)
	}
	return nil
}
