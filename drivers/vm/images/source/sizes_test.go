package source

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// TestSizes: sizes that can't be are refused where they are read, so that nobody adds them up.
func TestSizes(t *testing.T) {
	hash := v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("0", 64)}
	for name, test := range map[string]struct {
		sizes []int64
		ok    bool
	}{
		"none":          {nil, true},
		"empty":         {[]int64{0}, true},
		"large":         {[]int64{maxLayers - 1, 1}, true},
		"negative":      {[]int64{-1}, false},
		"together":      {[]int64{maxLayers, 1}, false},
		"the sum wraps": {[]int64{math.MaxInt64, math.MaxInt64, 1002}, false},
	} {
		m := v1.Manifest{Config: v1.Descriptor{Digest: hash}}
		for _, size := range test.sizes {
			m.Layers = append(m.Layers, v1.Descriptor{Digest: hash, Size: size})
		}
		raw, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := readManifest(raw, hash, nil); test.ok != (err == nil) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
