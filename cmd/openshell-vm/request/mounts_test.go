package request

import (
	"path/filepath"
	"strings"
	"testing"

	"openshell-vm/gateway/api"
)

// TestMounts: what docker's forms and ours mean. A directory is read-only unless its mount
// says rw, a volume can be written to unless its mount says ro.
func TestMounts(t *testing.T) {
	here, err := filepath.Abs("src")
	if err != nil {
		t.Fatal(err)
	}
	read, write := api.Mount{Source: "/s", Target: "/t"}, api.Mount{Source: "/s", Target: "/t", Writable: true}
	volume, kept := api.Mount{Volume: "v.1", Target: "/t", Writable: true}, api.Mount{Volume: "v.1", Target: "/t"}
	for _, c := range []struct {
		flag, text string
		want       api.Mount
		warns      bool
	}{
		{"mount", "/s:/t", read, false},
		{"mount", "/s:/t:ro", read, false},
		{"mount", "/s:/t/:rw", write, false},
		{"mount", "src:/t", api.Mount{Source: here, Target: "/t"}, false},
		{"mount", "type=bind,source=/s,target=/t", read, true},
		{"mount", "type=bind,source=/s,target=/t,readonly", read, false},
		{"mount", "type=bind,src=/s,dst=/t,readonly=true", read, false},
		{"mount", "type=bind,source=/s,target=/t,ro=false", write, false},
		{"mount", "type=bind,source=/s,target=/t,rw", write, false},
		{"mount", "type=bind,source=/s,target=/t,rw=false", read, false},
		{"mount", "source=/s,target=/t,rw,bind-propagation=rprivate", write, false},
		{"mount", "type=bind,source=src,target=/t,ro", api.Mount{Source: here, Target: "/t"}, false},
		{"mount", "type=volume,source=v.1,target=/t", volume, false},
		{"mount", "type=volume,source=v.1,target=/t,readonly", kept, false},
		{"mount", "source=v,target=/t", api.Mount{Volume: "v", Target: "/t", Writable: true}, false},
		{"volume", "/s:/t", read, true},
		{"volume", "/s:/t:ro", read, false},
		{"volume", "/s:/t:rw,rprivate", write, false},
		{"volume", "./src:/t:ro", api.Mount{Source: here, Target: "/t"}, false},
		{"volume", "v.1:/t", volume, false},
		{"volume", "v.1:/t:rw", volume, false},
		{"volume", "v.1:/t:ro", kept, false},
		{"volume", "v.1:/t:nocopy", volume, false},
	} {
		var flags [2][]string
		flags[map[string]int{"mount": 0, "volume": 1}[c.flag]] = []string{c.text}
		got, warnings, err := mounts(flags[0], flags[1])
		if err != nil || len(got) != 1 || got[0] != c.want || (len(warnings) > 0) != c.warns {
			t.Errorf("--%s %s: %+v, %q, %v; wanted %+v", c.flag, c.text, got, warnings, err, c.want)
		}
	}
	for _, text := range []string{
		"", ":", "/s", "/s:t", ":/t", "/s:/t:z", "/s:/t:rw,z", "/s:/t:", "/s:/t:ro:ro", "type=bind", "type=bind,source=/s", "type=bind,target=/t",
		"type=tmpfs,target=/t", "type=volume,target=/t", "type=bind,source=/s,target=/t,readonly=maybe", "type=bind,source=/s,target=/t,z", `"`,
	} {
		for i := range 2 {
			var flags [2][]string
			flags[i] = []string{text}
			if got, _, err := mounts(flags[0], flags[1]); err == nil {
				t.Errorf("%q is taken for %+v", text, got)
			} else if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q: more than one line: %v", text, err)
			}
		}
	}
}
