package jail

import (
	"errors"
	"testing"
)

// doctor and inspect have to say the same about the same jail.
func TestVerdict(t *testing.T) {
	var r Report
	if got := r.Verdict(); got != "complete" {
		t.Errorf("of a jail that lacks nothing: %q", got)
	}
	r.ProfileLacks = []string{"it keeps CAP_X"}
	r.miss("network namespace", errors.New("not permitted"))
	if got, want := r.Verdict(), "it keeps CAP_X; no network namespace: not permitted"; got != want {
		t.Errorf("%q, not %q", got, want)
	}
}
