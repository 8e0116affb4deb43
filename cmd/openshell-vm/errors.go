package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"openshell-vm/gateway/api"
	"openshell-vm/internal/text"
)

// Exit codes of our own.
const (
	codeNo     = 1   // the question was answered with no
	codeFailed = 125 // an error of ours, a wrong flag included
)

// exit ends the program with a code and without a message.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// usageError is a mistake in what was typed.
type usageError struct{ message, hint string }

func (e *usageError) Error() string { return e.message }

func usage(hint, format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...), hint}
}

// report prints each error as one line and a hint, and gives the exit code.
func report(w io.Writer, err error) int {
	var code exit
	switch joined, several := err.(interface{ Unwrap() []error }); {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	case several:
		for _, e := range joined.Unwrap() {
			report(w, e)
		}
		return codeFailed
	}
	fmt.Fprintf(w, "openshell-vm: %s\n", oneLine(err.Error()))
	fmt.Fprintf(w, "hint: %s\n", oneLine(hint(err)+ofSudo(err, os.Geteuid(), os.Getenv("SUDO_USER"))))
	return codeOf(err)
}

// codeOf is 126 or 127 where the gateway says that the command is to blame.
func codeOf(err error) int {
	var answer *api.Error
	if errors.As(err, &answer) {
		switch answer.Code {
		case api.CodeNotExecutable:
			return 126
		case api.CodeNoCommand:
			return 127
		}
	}
	return codeFailed
}

// hint is what the error says to do, or what can be done about its kind.
func hint(err error) string {
	var wrong *usageError
	var answer *api.Error
	switch {
	case errors.As(err, &wrong):
		return wrong.hint
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

// ofSudo adds to the hint for what is not there that root's are not the user's.
func ofSudo(err error, euid int, user string) string {
	if euid != 0 || user == "" || user == "root" || !notFound(err) || os.Getenv(api.EnvStateDir) != "" {
		return ""
	}
	return fmt.Sprintf("; under sudo those are root's: run it without sudo for those of %s", user)
}

// notFound says that the gateway knows no such sandbox.
func notFound(err error) bool {
	var answer *api.Error
	return errors.As(err, &answer) && answer.Code == api.CodeNotFound
}

// oneLine makes one harmless line of any text: messages quote what users,
// sandboxes and engines wrote.
func oneLine(s string) string { return text.Line(s) }
