package request

import (
	"reflect"
	"testing"

	"openshell-vm/gateway/api"
)

func TestOnRenew(t *testing.T) {
	for text, want := range map[string]api.OnRenew{
		"HUP":              {Signal: "HUP"},
		"sigusr1":          {Signal: "sigusr1"},
		"10":               {Signal: "10"},
		"RTMIN+3":          {Signal: "RTMIN+3"},
		"/bin/kill":        {Command: []string{"/bin/kill"}},
		"kill -HUP 1":      {Command: []string{"kill", "-HUP", "1"}},
		"reload":           {Command: []string{"reload"}},
		"sh -c 'a b; $c'":  {Command: []string{"sh", "-c", "a b; $c"}},
		"HUP nobody":       {Command: []string{"HUP", "nobody"}},
		`nginx -s "re" ''`: {Command: []string{"nginx", "-s", "re", ""}},
	} {
		if got, err := onRenew(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q is %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "  ", "SIGFOO", "0", "65", "-1", "'x", "x\\"} {
		if got, err := onRenew(text); err == nil {
			t.Errorf("%q is taken for %+v", text, got)
		}
	}
}
