package sources

import (
	"encoding/json"

	"openshell-vm/internal/contract"
	"openshell-vm/share"
)

// Described is what a share's metadata is to say of its sources: those that were not withdrawn. An
// expiry is that of what a source gave last, or, as long as it gave nothing, what the share says
// already. Ask before Files, so that it is never later than that of the file.
func (f Shown) Described() (list []contract.SourceMetadata) {
	var before *contract.Metadata
	for _, spec := range f.List {
		if f.Sources.withdrawn(spec) {
			continue
		}
		st := f.Sources.State(spec)
		about := contract.SourceMetadata{File: spec.Name, ExpiresAt: st.ExpiresAt.UTC()}
		if !st.Has {
			if before == nil {
				before = f.described()
			}
			for _, s := range before.Sources {
				if s.File == spec.Name {
					about.ExpiresAt = s.ExpiresAt
				}
			}
		}
		list = append(list, about)
	}
	return list
}

// described reads the share's own metadata; what can't be read is empty.
func (f Shown) described() *contract.Metadata {
	m := &contract.Metadata{}
	if held, err := share.Read(f.Auth); err == nil {
		_ = json.Unmarshal(held.Files[contract.MetadataName], m)
	}
	return m
}
