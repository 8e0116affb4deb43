package monitor

// Files in a sandbox's state directory (Config.Dir) that the monitor owns, beside those of package logs.
const (
	ConfigFile = "monitor.json" // the Config; written by the driver before each start
	LockFile   = "monitor.lock" // locked as long as the monitor lives; holds its pid
	LogFile    = "monitor.log"  // the monitor's own log, rotated
	ExitFile   = "exit.json"    // an Exit, once the sandbox has ended
)

// maxFile bounds the files that are read whole, in bytes.
const maxFile = 64 << 20

// ownLogSize is how many bytes each of the two files of LogFile may have.
const ownLogSize = 1 << 20
