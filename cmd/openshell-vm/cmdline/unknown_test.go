package cmdline

import "testing"

// TestNearest: a slip of the finger is found, another word is not.
func TestNearest(t *testing.T) {
	commands := []string{"run", "create", "ps", "inspect", "logs", "exec", "attach", "start", "stop", "wait", "rm", "share", "token"}
	for typed, want := range map[string]string{
		"rnu": "run", "runn": "run", "urn": "run", "stopp": "stop", "sotp": "stop",
		"inspct": "inspect", "inpsect": "inspect", "atach": "attach", "creatte": "create",
		"top": "stop", "stats": "", // these two have answers of their own
		"prune": "", "pause": "", "p": "", "xx": "", "network": "", "kill": "",
	} {
		if got := Nearest(typed, commands); got != want {
			t.Errorf("%s: %q, not %q", typed, got, want)
		}
	}
	for pair, want := range map[[2]string]int{
		{"", "ab"}: 2, {"ab", "ba"}: 1, {"abc", "abc"}: 0, {"abcd", "acbd"}: 1, {"kitten", "sitting"}: 3,
	} {
		if got := slips([]rune(pair[0]), []rune(pair[1])); got != want {
			t.Errorf("%v: %d, not %d", pair, got, want)
		}
	}
}
