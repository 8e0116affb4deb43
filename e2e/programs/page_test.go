//go:build e2e

package programs_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

const pageFile = "../../docs/recipes.md"

// recipe is a section of the page: its blocks of code, in order.
type recipe struct {
	t      *testing.T
	blocks []block
}

// block is a block of code. Its info says the language and where it belongs: host, inside, or the
// name of a file inside.
type block struct{ where, text string }

var fence = regexp.MustCompile("(?ms)^```(\\S+) (\\S+)\n(.*?)^```$")

// page reads the section that has the title. Each pair of otherwise is a text of the page, which
// has to be in the section, and what a test has in its place.
func page(t *testing.T, title string, otherwise ...string) *recipe {
	t.Helper()
	text, err := os.ReadFile(pageFile)
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "\n## "+title+"\n")
	section, _, _ = strings.Cut(section, "\n## ")
	r := &recipe{t: t}
	for i := 0; i < len(otherwise); i += 2 {
		if !strings.Contains(section, otherwise[i]) {
			t.Errorf("the section %s has no %q", title, otherwise[i])
		}
	}
	for _, m := range fence.FindAllStringSubmatch(section, -1) {
		r.blocks = append(r.blocks, block{m[2], strings.NewReplacer(otherwise...).Replace(m[3])})
	}
	if !found || len(r.blocks) == 0 {
		t.Fatalf("%s has no recipe %s", pageFile, title)
	}
	return r
}

// next takes the next block, which has to belong there.
func (r *recipe) next(where string) string {
	r.t.Helper()
	if len(r.blocks) == 0 || r.blocks[0].where != where {
		r.t.Fatalf("the page's next block is not for %s: %+v", where, r.blocks)
	}
	text := r.blocks[0].text
	r.blocks = r.blocks[1:]
	return text
}
