package show

import (
	"strings"
	"testing"

	"openshell-vm/gateway/api"
	"openshell-vm/internal/text"
)

// TestTableFits: a long reason or name does not widen the table beyond the terminal. If
// there is no terminal nothing is cut.
func TestTableFits(t *testing.T) {
	reason := strings.Repeat("no such file ", 30)
	list := []api.Sandbox{
		{Name: strings.Repeat("n", 63), ID: "aaaaaaaaaaaa", Driver: "podman", State: "running"},
		{Name: "box", ID: "bbbbbbbbbbbb", Driver: "vm", Hypervisor: "auto", State: "dead", Reason: reason},
		{Name: "日本", ID: "cccccccccccc", Driver: "vm", Hypervisor: "krun", State: "dead", Reason: strings.Repeat("日本", 100)},
	}
	for _, width := range []int{300, 100, 80, 40, 1} {
		var out strings.Builder
		if err := SandboxTable(list, noon).Print(&out, width); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(out.String(), "\n")
		if len(lines) != 5 {
			t.Errorf("%d lines at a width of %d", len(lines), width)
		}
		for _, line := range lines {
			if w := text.Width(line); w > max(width, 78) { // 78: what can't be cut
				t.Errorf("%d columns at a width of %d: %s", w, width, line)
			}
		}
		if !strings.Contains(out.String(), "bbbbbbbbbbbb") || strings.Contains(out.String(), "auto") {
			t.Errorf("at a width of %d:\n%s", width, out.String())
		}
	}
	var out strings.Builder
	if err := SandboxTable(list, noon).Print(&out, 0); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), strings.TrimSpace(reason)) || !strings.Contains(out.String(), list[0].Name) {
		t.Errorf("cut without a terminal:\n%s", out.String())
	}
}
