package request

import (
	"fmt"
	"strings"

	"openshell-vm/gateway/api"
	"openshell-vm/internal/text"
	"openshell-vm/internal/vocab"
)

// maxLabels bounds a sandbox's labels in sum, in bytes. They are in the record and in each
// answer.
const maxLabels = 16 << 10

// checkLabels refuses labels that are ours, and those that a terminal could not show.
func checkLabels(labels map[string]string) error {
	sum := 0
	for key, value := range labels {
		sum += len(key) + len(value)
		switch {
		case key == "" || strings.ContainsAny(key, "= \t") || text.Line(key) != key:
			return &api.Error{Code: api.CodeInvalid, Message: fmt.Sprintf("the label %q has no usable name", key),
				Hint: "write --label NAME=VALUE"}
		case strings.HasPrefix(key, vocab.LabelPrefix):
			return &api.Error{Code: api.CodeInvalid, Message: fmt.Sprintf("the label %q is the gateway's own", key),
				Hint: "choose a name that does not begin with " + vocab.LabelPrefix}
		case text.Line(value) != value:
			return &api.Error{Code: api.CodeInvalid, Message: fmt.Sprintf("the value of label %q is not one printable line", key),
				Hint: "write --label NAME=VALUE"}
		}
	}
	if sum > maxLabels {
		return &api.Error{Code: api.CodeInvalid, Message: fmt.Sprintf("the labels have %d bytes, more than %d", sum, maxLabels),
			Hint: "give fewer or shorter ones"}
	}
	return nil
}
