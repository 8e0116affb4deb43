package driverstest

import (
	"slices"
	"strings"
	"testing"

	"openshell-vm/drivers"
)

// networks: with none a sandbox has its loopback alone; else it has a way out, and
// somebody to ask for names.
func networks(t *testing.T, s *suite) string {
	none := s.box(t, func(b *box) {
		b.spec.Network = drivers.NetworkNone
		b.runs("net", "links")
	})
	out, code := none.run(false).rest()
	if code != 0 || !slices.Contains(out, "lo 127.0.0.1/8") {
		t.Errorf("without a network: code %d, %q", code, out)
	}
	for _, line := range out {
		if !strings.HasPrefix(line, "lo ") {
			t.Errorf("without a network it has %q", line)
		}
	}
	if s.NoNetwork {
		return "the suite's engine has none to give"
	}
	user := s.box(t, func(b *box) {
		b.spec.Network = drivers.NetworkUser
		b.shell(b.tool + " net links; grep -c ^nameserver /etc/resolv.conf; grep -c localhost /etc/hosts")
	})
	out, code = user.run(false).rest()
	if code != 0 || !slices.Contains(out, "default") || !slices.Contains(out, "lo 127.0.0.1/8") {
		t.Errorf("with a network: code %d, %q", code, out)
	}
	return ""
}
