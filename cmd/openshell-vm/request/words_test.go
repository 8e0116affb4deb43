package request

import (
	"reflect"
	"strings"
	"testing"
)

// TestWords: a command is split as a shell would, and what only a shell understands is refused.
func TestWords(t *testing.T) {
	for command, want := range map[string][]string{
		"date":                             {"date"},
		"sh -c 'date | wc -l; echo $HOME'": {"sh", "-c", "date | wc -l; echo $HOME"},
		`sh -c "date | wc; a && b > c"`:    {"sh", "-c", "date | wc; a && b > c"},
		`printf '%s\n' \$HOME "\$HOME"`:    {"printf", `%s\n`, "$HOME", "$HOME"},
		"curl https://h/?a=1&b=~2;c":       {"curl", "https://h/?a=1&b=~2;c"},
		`find . -exec cat {} \;`:           {"find", ".", "-exec", "cat", "{}", ";"},
		"echo '~/x' 5$ a~ (":               nil,
		`echo "a(b" 'it''s' 5$ a~`:         {"echo", "a(b", "its", "5$", "a~"},
		`op read "op://vault/a b/token"`:   {"op", "read", "op://vault/a b/token"},
	} {
		got, err := words("exec", "t="+command, command)
		if want != nil && (err != nil || !reflect.DeepEqual(got, want)) || want == nil && err == nil {
			t.Errorf("%s: %q, %v", command, got, err)
		}
	}
	for command, sign := range map[string]string{
		"date | wc": "|", "date|": "|", "a && b": "&&", "a; b": ";", "a &": "&", "echo a > b": ">", "cat <x": "<x", "a 2>/dev/null": "2>/dev/null",
		"cat $HOME/x": "$H", `cat "$HOME/x"`: "$H", "cat ${X}": "${", "echo $(date)": "$(", `echo "$(date)"`: "$(", "echo `date`": "`",
		"cat ~/x": "~/x", "ls ~": "~", "(a)": "(a)",
	} {
		if got, err := words("exec", "t="+command, command); err == nil || !strings.Contains(err.Error(), ": "+sign+" is for a shell") {
			t.Errorf("%s: %q, %v", command, got, err)
		}
	}
}
