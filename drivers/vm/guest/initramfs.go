package guest

// The initramfs, which the host builds and the init unpacks: see package
// initramfs.
const (
	// InitramfsFormat changes when the same input must give another archive.
	InitramfsFormat = 1
	// ModulesDir holds the kernel's modules; sorted by name they are in load order.
	ModulesDir = "/modules"
)

// InitramfsDirs are the mount points that the init finds at its start, also
// under krun, where they are directories of the composed root.
var InitramfsDirs = []string{"/dev", "/proc", "/sys", "/run", ModulesDir}
