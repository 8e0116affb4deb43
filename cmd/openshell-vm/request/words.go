package request

import (
	"regexp"
	"strings"

	"github.com/kballard/go-shellquote"

	"openshell-vm/cmd/openshell-vm/say"
)

// forShell is what a shell would act on, at the beginning of a word, at its end, and anywhere.
var forShell = regexp.MustCompile(`^[0-9]*(?:[|&;<>(]\S*)|^~(?:/\S*)?$|[;|&]$|\$[A-Za-z_{(]|` + "`")

// words splits the command of a flag as a shell would. Since no shell runs it, what only a shell
// understands is refused where it isn't quoted: as a mere argument it would do something else than
// it looks like.
func words(flag, text, command string) ([]string, error) {
	split, err := shellquote.Split(command)
	if err != nil {
		return nil, say.Errorf("close each quote", "--%s %q: %v", flag, text, err)
	}
	for _, word := range strings.Fields(unquoted(command)) {
		if sign := forShell.FindString(word); sign != "" {
			return nil, say.Errorf("have one run it: sh -c '…'; or quote what is meant as it stands",
				"--%s %q: %s is for a shell, and none runs the command", flag, text, sign)
		}
	}
	return split, nil
}

// unquoted is a command with an x for each character that its quotes keep from a shell. In double
// quotes these are not $ and the backquote.
func unquoted(command string) string {
	var b strings.Builder
	quote, escaped := rune(0), false
	for _, c := range command {
		switch {
		case escaped:
			escaped, c = false, 'x'
		case c == '\\' && quote != '\'':
			escaped, c = true, 'x'
		case quote != 0 && c == quote:
			quote, c = 0, 'x'
		case quote == '\'' || quote == '"' && c != '$' && c != '`' && !isName(c):
			c = 'x'
		case quote == 0 && (c == '\'' || c == '"'):
			quote, c = c, 'x'
		}
		b.WriteRune(c)
	}
	return b.String()
}

// isName says whether a variable's name, or what stands around one, may have the character.
func isName(c rune) bool {
	return c == '{' || c == '(' || c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
