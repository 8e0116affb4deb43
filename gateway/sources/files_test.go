package sources

import (
	"os"
	"testing"

	"openshell-vm/internal/vocab"
	"openshell-vm/share"
)

// What a source gives gets into a share under its name, and is found there again.
func TestFilesInAShare(t *testing.T) {
	for _, tc := range []struct {
		name  string
		files Files
		want  []string
	}{
		{"one", Files{"": []byte("1")}, []string{"one"}},
		{"github", Files{"token": []byte("t"), "git-credentials": []byte("c")}, []string{"github/git-credentials", "github/token"}},
		{"a/b", Files{"c/d": []byte("1")}, []string{"a/b/c/d"}},
		{"empty", Files{}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			held := map[string][]byte{"one.more": nil, "git": nil, "a/bc": nil, "on": nil, "other/one": nil}
			list, err := shown(vocab.Source{Name: tc.name, Mode: 0o400}, tc.files)
			if err != nil || len(list) != len(tc.want) {
				t.Fatalf("%d files: %v, %v", len(list), list, err)
			}
			for i, file := range list {
				if file.Name != tc.want[i] || file.Mode != 0o400 || !file.Later {
					t.Errorf("file %d is %+v, want %s", i, file, tc.want[i])
				}
				held[file.Name] = file.Data
			}
			if again := Held(held, tc.name); !again.equal(tc.files) {
				t.Errorf("the share holds %v of it", again)
			}
		})
	}
}

// An owner is taken if the kernel lets this process give files to it, and else refused.
func TestOwner(t *testing.T) {
	me := &vocab.Owner{UID: uint32(os.Getuid()), GID: uint32(os.Getgid())}
	other := &vocab.Owner{UID: 12345, GID: 54321}
	spec := vocab.Source{Name: "key", File: "/f", Owner: me}
	if _, err := Complete([]vocab.Source{spec}, nil); err != nil {
		t.Error(err)
	}
	spec.Owner = other
	_, err := Complete([]vocab.Source{spec}, nil)
	list, giveErr := shown(spec, one(nil))
	if os.Getuid() != 0 {
		if err == nil || giveErr == nil || list[0].Owner != nil {
			t.Errorf("a user gives files away: %v, %v", err, giveErr)
		}
		return
	}
	if err != nil || giveErr != nil || *list[0].Owner != (share.Owner{UID: 12345, GID: 54321}) {
		t.Errorf("root can't give files away: %v, %v", err, giveErr)
	}
}
