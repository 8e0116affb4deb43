package shares

import "testing"

// TestMountable: a path that a shell or a container tool would misread is refused.
func TestMountable(t *testing.T) {
	for _, path := range []string{"/home/a b/named/x", "/x,y/named/x", "/x:y/named/x", "/$HOME/x", "/a*/x"} {
		if checkMountable(path) == nil {
			t.Errorf("%s is taken for mountable", path)
		}
	}
	if err := checkMountable("/home/josé/.local/state/openshell-vm/named/x"); err != nil {
		t.Error(err)
	}
}
