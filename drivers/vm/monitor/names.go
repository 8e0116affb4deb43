package monitor

// Files in a sandbox's state directory (Config.Dir) that the monitor owns.
const (
	ConfigFile  = "monitor.json" // the Config; written by the driver before each start
	LockFile    = "monitor.lock" // locked as long as the monitor lives; holds its pid
	LogFile     = "monitor.log"  // the monitor's own log
	ToolsFile   = "tools.log"    // output of virtiofsd and the hypervisor, rotated
	StdioFile   = "stdio.log"    // the workload's output in CRI format, rotated
	ConsoleFile = "console.log"  // the guest kernel's messages, rotated
	ExitFile    = "exit.json"    // an Exit, once the sandbox has ended
)

// maxFile bounds the files that are read whole, in bytes.
const maxFile = 64 << 20

// Sizes of the rotated logs.
const (
	logSize  = 10 << 20 // bytes in each file
	logCount = 3        // files in all
	toolSize = 1 << 20  // bytes in each of the tools' two files
)
