package layout

import "testing"

func TestGenerationNames(t *testing.T) {
	for n, name := range map[uint64]string{
		1: "..gen-00000001", 99_999_999: "..gen-99999999", 100_000_000: "..gen-100000000",
		MaxGeneration: "..gen-9007199254740991",
	} {
		if got := Generation(n); got != name {
			t.Errorf("Generation(%d) = %q, want %q", n, got, name)
		}
		if got, ok := ParseGeneration(name); !ok || got != n {
			t.Errorf("ParseGeneration(%q) = %d, %v", name, got, ok)
		}
	}
	for _, name := range []string{
		"", "..gen-", "..gen-1", "..gen-000000001", "..gen-00000000", "..gen-+0000001", "..gen--0000001",
		"..gen-0000000a", "..gen-9007199254740992", "..gen-99999999999999999999", "..gen-00000001/", "/..gen-00000001",
		"..gen-00000001/../x", "../..gen-00000001", "..is-00000001", "..gen-0000_001",
	} {
		if n, ok := ParseGeneration(name); ok {
			t.Errorf("ParseGeneration(%q) = %d, want none", name, n)
		}
	}
}

func FuzzParseGeneration(f *testing.F) {
	f.Add("..gen-00000001")
	f.Add("..gen-100000000")
	f.Add("..gen-00000001/..")
	f.Fuzz(func(t *testing.T, name string) {
		n, ok := ParseGeneration(name)
		if ok && Generation(n) != name {
			t.Errorf("%q and %q are both %d", name, Generation(n), n)
		}
	})
}

// TestKinds checks that the names of each kind are recognized as this kind only.
func TestKinds(t *testing.T) {
	type parser func(string) (uint64, bool)
	parsers := map[string]parser{"..gen-00000042": ParseGeneration, "..is-00000042": ParseAnnouncement, "..was-00000042": ParseRetired}
	made := []string{Generation(42), Announcement(42), Retired(42), New(42), Data, Link("token"), "token"}
	for _, name := range made {
		for of, parse := range parsers {
			if n, ok := parse(name); ok != (name == of) || ok && n != 42 {
				t.Errorf("%q as %q: %d, %v", name, of, n, ok)
			}
		}
	}
	if New(42) != "..new-00000042" || Link("token") != "..data/token" {
		t.Errorf("%q, %q", New(42), Link("token"))
	}
}
