// Package say is what the program tells its user on standard error: errors with a hint
// each, warnings, what is under way. It knows the program's exit codes, too.
package say

import (
	"errors"
	"fmt"
	"io"
	"os"

	"openshell-vm/cmd/openshell-vm/gateways"
	"openshell-vm/gateway/api"
	"openshell-vm/internal/text"
)

// Program is its name, as users type it.
const Program = "openshell-vm"

// Exit codes of our own.
const (
	No     Exit = 1   // the question was answered with no
	failed Exit = 125 // an error of ours, a wrong flag included
)

// Exit is an error that ends the program with a code and without a message.
type Exit int

func (e Exit) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// Error is one of the CLI's own, such as a mistake in what was typed.
type Error struct{ message, Hint string }

func (e *Error) Error() string { return e.message }

// Errorf makes an Error: what failed and why, and the hint what to do.
func Errorf(hint, format string, args ...any) error {
	return &Error{fmt.Sprintf(format, args...), hint}
}

// Warn prints warnings, the gateway's too.
func Warn(warnings []string) {
	for _, w := range warnings {
		fmt.Fprintf(os.Stderr, "openshell-vm: warning: %s\n", text.Line(w))
	}
}

// Plural counts things: 1 share, 2 shares.
func Plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

// Report prints each error as one line and a hint, and gives the exit code.
func Report(w io.Writer, err error) int {
	var code Exit
	switch joined, several := err.(interface{ Unwrap() []error }); {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	case several:
		for _, e := range joined.Unwrap() {
			Report(w, e)
		}
		return int(failed)
	}
	fmt.Fprintf(w, "openshell-vm: %s\n", text.Line(err.Error()))
	fmt.Fprintf(w, "hint: %s\n", text.Line(hint(err)+ofSudo(err, os.Geteuid(), os.Getenv("SUDO_USER"))))
	return codeOf(err)
}

// codeOf is 126 or 127 where the gateway says that the command is to blame, and 1 where its answer
// is no.
func codeOf(err error) int {
	var answer *api.Error
	if errors.As(err, &answer) {
		switch answer.Code {
		case api.CodeNotExecutable:
			return 126
		case api.CodeNoCommand:
			return 127
		case api.CodeNotSeen:
			return int(No)
		}
	}
	return int(failed)
}

// hint is what the error says to do, and else what can be done about errors of its kind.
func hint(err error) string {
	var wrong *Error
	var answer *api.Error
	switch {
	case errors.As(err, &wrong):
		return wrong.Hint
	case errors.As(err, &answer) && answer.Hint != "":
		return answer.Hint
	case errors.As(err, &answer) && answer.Code == api.CodeNotFound:
		return "openshell-vm ps -a lists all sandboxes"
	case errors.As(err, &answer) && answer.Code == api.CodeInvalid:
		return "openshell-vm help COMMAND explains its flags"
	case errors.Is(err, api.ErrNotRunning):
		return "openshell-vm gateway start starts it; commands that need it do so by themselves"
	}
	return "openshell-vm doctor shows what works on this host, and gateway.log in the state directory what happened"
}

// ofSudo adds to the hint of what is not found: under sudo root's sandboxes are looked at,
// and not the user's.
func ofSudo(err error, euid int, user string) string {
	if euid != 0 || user == "" || user == "root" || !gateways.NotFound(err) || os.Getenv(api.EnvStateDir) != "" {
		return ""
	}
	return fmt.Sprintf("; under sudo those are root's: run it without sudo for those of %s", user)
}
