package inode

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"testing"
)

func TestOf(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	link := other + "/link"
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	is, err := Of(dir)
	if again, errAgain := Of(link); err != nil || errAgain != nil || again != is || is == (ID{}) {
		t.Errorf("%v, %v; by a link %v, %v", is, err, again, errAgain)
	}
	if there, err := Of(other); err != nil || there == is {
		t.Errorf("another is %v, %v", there, err)
	}
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if open, err := OfFile(int(f.Fd())); err != nil || open != is {
		t.Errorf("open %v, %v", open, err)
	}
	if _, err := Of(dir + "/absent"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// TestOlder reads the fields of older versions, whose names begin with capitals.
func TestOlder(t *testing.T) {
	var id ID
	if err := json.Unmarshal([]byte(`{"Device":6,"Inode":7}`), &id); err != nil || id != (ID{6, 7}) {
		t.Errorf("%v, %v", id, err)
	}
}
