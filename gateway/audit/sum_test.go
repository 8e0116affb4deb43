package audit

import "testing"

// TestSumNamesAccount: the number of tokens that were not written one by one says whose they were.
func TestSumNamesAccount(t *testing.T) {
	var got []Event
	f := newFloods(func(e Event) { got = append(got, e) })
	for range bounds[Exchange].ownBurst + 2 {
		f.admits(Event{What: Exchange, Caller: "listener", Pod: &Pod{Cluster: "prod", Namespace: "agents", ServiceAccount: "runner", Name: "p-0"}})
	}
	f.end()
	if len(got) != 1 || got[0].Pod == nil || *got[0].Pod != (Pod{Cluster: "prod", Namespace: "agents", ServiceAccount: "runner"}) {
		t.Errorf("%+v", got)
	}
}
