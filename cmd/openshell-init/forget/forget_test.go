package forget

import "testing"

func TestUnusedNames(t *testing.T) {
	for state, want := range map[string]uint64{
		"4711\t123\t45\t0\t67\t0\n": 123,
		"1 0 45 0 0 0":              0,
	} {
		if n, err := parseUnused(state); n != want || err != nil {
			t.Errorf("%q: %d, %v", state, n, err)
		}
	}
	for _, state := range []string{"", "1", "1 -2 45", "a b"} {
		if _, err := parseUnused(state); err == nil {
			t.Errorf("%q is taken", state)
		}
	}
	if n, err := unusedNames(); n == 0 || err != nil {
		t.Errorf("this kernel remembers %d names, %v", n, err)
	}
}
