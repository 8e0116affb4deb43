package vocab

import "testing"

func TestSignal(t *testing.T) {
	for name, want := range map[string]int{
		"SIGTERM": 15, "term": 15, "SIGQUIT": 3, "9": 9, "64": 64, "SIGRTMIN": 34, "SIGRTMIN+3": 37, "RTMIN+30": 64,
		"": 0, "SIG": 0, "0": 0, "65": 0, "-1": 0, "SIGRTMIN+31": 0, "SIGRTMIN+x": 0, "SIGNONE": 0, "15x": 0,
	} {
		n, ok := Signal(name)
		if ok != (want != 0) || ok && n != want {
			t.Errorf("%q is %d, %v", name, n, ok)
		}
	}
}
