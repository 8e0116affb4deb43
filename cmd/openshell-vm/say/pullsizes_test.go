package say

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"openshell-vm/gateway/api"
)

// TestAbsurdSizes: whatever sizes a registry or an engine claims, there is a bar.
func TestAbsurdSizes(t *testing.T) {
	many := make([]int64, 20_000)
	for i := range many {
		many[i] = math.MaxInt64
	}
	for name, sizes := range map[string][]int64{
		"the sum wraps":  {math.MaxInt64, math.MaxInt64, 1002},
		"negative":       {-1, math.MinInt64, 5},
		"more than many": many,
	} {
		t.Run(name, func(t *testing.T) {
			p := &pulling{image: "x", layers: map[string]api.PullProgress{}, bar: &Progress{}, began: true}
			for i, size := range sizes {
				p.update(api.PullProgress{Layer: fmt.Sprint(i), Status: "Downloading", Total: size, Current: size})
				p.update(api.PullProgress{Layer: fmt.Sprint(i), Status: "Downloading", Total: 1, Current: size})
			}
			if text := p.text(); strings.Contains(text, "-") || strings.Contains(text, "NaN") {
				t.Error(text)
			}
		})
	}
}
