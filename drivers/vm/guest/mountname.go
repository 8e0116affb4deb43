package guest

import "strconv"

// MountName is the directory of the i-th user mount in the composed shares.
func MountName(i int) string { return "mount-" + strconv.Itoa(i) }
