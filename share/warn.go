package share

import (
	"errors"
	"fmt"
	"slices"
)

// maxWarnings is how many warnings of one operation are told in words; further ones are
// only counted.
const maxWarnings = 3

// warn notes what could not be tidied up: something foreign in auth/, or an old
// generation, that can't be removed. The publish goes on. An operation may meet the same
// thing twice; warn notes it once.
func (t *txn) warn(err error) {
	same := func(other error) bool { return other.Error() == err.Error() }
	if err != nil && !slices.ContainsFunc(t.warnings, same) {
		t.warnings = append(t.warnings, err)
	}
}

// warning returns what was noted, as one error of bounded length, or nil.
func (t *txn) warning() error {
	list := t.warnings
	if n := len(list); n > maxWarnings {
		list = append(slices.Clone(list[:maxWarnings]), fmt.Errorf("and %d more", n-maxWarnings))
	}
	return errors.Join(list...)
}
