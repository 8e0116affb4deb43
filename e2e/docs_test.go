package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// link matches the target of a Markdown link.
var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// TestLinks checks that each link between pages leads somewhere, and that the list of
// decisions is complete.
func TestLinks(t *testing.T) {
	var pages []string
	for _, pattern := range []string{"../*.md", "../docs/*.md", "../docs/decisions/*.md", "../examples/*/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, found...)
	}
	linked := map[string]bool{}
	for _, page := range pages {
		for _, m := range link.FindAllStringSubmatch(read(t, page), -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			file := page
			if target != "" {
				file = filepath.Join(filepath.Dir(page), target)
			}
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%s: %v", page, err)
			} else if anchor != "" && !strings.Contains(anchors(read(t, file)), " "+anchor+" ") {
				t.Errorf("%s: %s has no heading for #%s", page, file, anchor)
			}
			linked[page+" "+file] = true
		}
	}
	const index = "../docs/decisions/README.md"
	for _, page := range pages {
		if filepath.Dir(page) == filepath.Dir(index) && page != index && !linked[index+" "+page] {
			t.Errorf("%s does not list %s", index, page)
		}
	}
	if len(pages) < 10 || len(linked) < 20 {
		t.Errorf("only %d pages with %d links were found", len(pages), len(linked))
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// anchors returns the anchors of a page's headings, with spaces between and around them.
func anchors(page string) string {
	all := " "
	for _, line := range strings.Split(page, "\n") {
		if heading := strings.TrimLeft(line, "#"); heading != line {
			all += strings.ReplaceAll(strings.ToLower(strings.TrimSpace(heading)), " ", "-") + " "
		}
	}
	return all
}
