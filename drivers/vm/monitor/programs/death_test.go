package programs

import (
	"errors"
	"os/exec"
	"testing"
	"time"
)

func TestTheCauseOfSeveralDeaths(t *testing.T) {
	bySignal := exec.Command("sh", "-c", "kill -9 $$").Run()
	byStatus := exec.Command("sh", "-c", "exit 1").Run()
	root, shares := "virtiofsd-root", "virtiofsd-shares"
	for want, deaths := range map[string][]Death{
		"qemu ended: signal: killed":           {{shares, nil, true}, {root, byStatus, true}, {"qemu", bySignal, false}},
		"virtiofsd-root ended: signal: killed": {{root, bySignal, true}, {"qemu", byStatus, false}},
		"virtiofsd-root ended: exit status 1":  {{root, byStatus, true}, {"qemu", byStatus, false}},
		"virtiofsd-root ended: no jail":        {{"qemu", byStatus, false}, {root, errors.New("no jail"), true}},
		"qemu ended: exit status 1":            {{shares, nil, true}, {"qemu", byStatus, false}},
		"qemu ended":                           {{root, byStatus, true}, {shares, nil, true}, {"qemu", nil, false}},
		"krun ended":                           {{"krun", nil, false}},
	} {
		if d := culprit(deaths); d.String() != want {
			t.Errorf("%q is the cause, not %q", d, want)
		}
	}
}

// TestTheCauseComesLate has the hypervisor end some time after its file servers.
func TestTheCauseComesLate(t *testing.T) {
	g := New()
	time.AfterFunc(3*causeTime, func() { g.Report(Death{Name: "qemu"}) })
	if d := g.cause(Death{Name: "virtiofsd-root", Server: true}); d.Name != "qemu" {
		t.Error(d)
	}
}
