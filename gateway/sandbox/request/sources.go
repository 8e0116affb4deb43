package request

import "openshell-vm/drivers"

// CheckSources refuses sources that are no directories, or that would expose the gateway's
// own. Drivers check this too. It is done here once more because a driver that forgot it
// would expose all keys.
func CheckSources(spec drivers.Spec) error {
	if root := spec.VM.Rootfs; root != "" {
		if _, err := drivers.Judge("use the root directory", root, spec.Hidden); err != nil {
			return err
		}
	}
	if _, err := drivers.JudgeMounts(spec); err != nil {
		return err
	}
	_, err := drivers.JudgeWritable(spec)
	return err
}
