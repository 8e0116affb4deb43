package say

import (
	"bytes"
	"testing"

	"openshell-vm/gateway/api"
)

// TestPullBar: what is counted, and that engines without layers are shown, too.
func TestPullBar(t *testing.T) {
	p := &pulling{image: "alpine", layers: map[string]api.PullProgress{}, bar: &Progress{out: &bytes.Buffer{}}}
	defer p.bar.Done()
	for _, step := range []struct {
		said api.PullProgress
		want string
	}{
		{api.PullProgress{Status: "Pulling from library/alpine"}, "fetching alpine: Pulling from library/alpine"},
		{api.PullProgress{Layer: "a", Status: "Downloading", Current: 1 << 20, Total: 2 << 20},
			"fetching alpine [==========          ] 1MiB of 2MiB, 0 of 1 layer"},
		{api.PullProgress{Layer: "b", Status: "Downloading", Current: 0, Total: 2 << 20},
			"fetching alpine [=====               ] 1MiB of 4MiB, 0 of 2 layers"},
		{api.PullProgress{Layer: "a", Status: "Pull complete"}, "fetching alpine [==========          ] 2MiB of 4MiB, 1 of 2 layers"},
		{api.PullProgress{Layer: "c", Status: "Already exists"}, "fetching alpine [==========          ] 2MiB of 4MiB, 2 of 3 layers"},
		{api.PullProgress{Layer: "b", Status: "Download complete"}, "fetching alpine [====================] 4MiB of 4MiB, 3 of 3 layers"},
	} {
		p.update(step.said)
		if got := p.text(); got != step.want {
			t.Errorf("after %+v: %q, wanted %q", step.said, got, step.want)
		}
	}
}
