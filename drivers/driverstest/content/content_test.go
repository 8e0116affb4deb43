package content

import "testing"

func TestCheck(t *testing.T) {
	whole := New(42)
	if n, err := Check(whole); n != 42 || err != nil {
		t.Errorf("generation %d, error %v", n, err)
	}
	other := New(43)
	for name, torn := range map[string][]byte{
		"empty": nil, "short": whole[:len(whole)-1], "cut": whole[:100], "mixed": append(whole[:300:300], other[300:]...),
	} {
		if _, err := Check(torn); err == nil {
			t.Errorf("%s was taken for whole", name)
		}
	}
	if s, err := Signature(whole); err != nil || len(s) != 43 {
		t.Errorf("signature %q, error %v", s, err)
	}
}
