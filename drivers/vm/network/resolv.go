package network

import "openshell-vm/internal/plainfile"

// ResolvConf is where a host says which servers know names.
const ResolvConf = "/etc/resolv.conf"

// ReadResolv returns the content of a resolv.conf; "" if there is none that can be read,
// which has a meaning of its own.
func ReadResolv(path string) string {
	data, err := plainfile.Read(path, MaxResolv)
	if err != nil {
		return ""
	}
	return string(data)
}
