package sources

import (
	"testing"

	"openshell-vm/internal/vocab"
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
			list := shown(vocab.Source{Name: tc.name, Mode: 0o400}, tc.files)
			if len(list) != len(tc.want) {
				t.Fatalf("%d files: %v", len(list), list)
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
