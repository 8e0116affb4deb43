package krun

import "slices"

// Symbol is one function of the C API.
type Symbol struct {
	Name  string // with the krun_ prefix
	Since string // the first libkrun that has it
	Until string // the first libkrun without it; "" if there is none yet
}

// fn numbers the bound symbols; it indexes bound and the table of addresses.
type fn int

const (
	createCtx fn = iota
	freeCtx
	setVMConfig
	setRoot
	setExec
	startEnter
	setWorkdir
	setPortMap
	setRlimits
	setLogLevel
	setRootDisk
	setEnv
	setDataDisk
	setPasstFD
	addVirtioFS
	addVsockPort
	getShutdownEventFD
	setConsoleOutput
	setGvproxyPath
	setNetMAC
	setGPUOptions
	setSndDevice
	setSMBIOSOEMStrings
	addVirtioFS2
	addDisk
	setGPUOptions2
	addDisk2
	addVsockPort2
	setKernel
	setUID
	setGID
	setNestedVirt
	checkNestedVirt
	splitIRQChip
	initLog
	addNetUnixStream
	addNetUnixGram
	addNetTap
	setRootDiskRemount
	setFirmware
	getMaxVCPUs
	addVirtioConsoleDefault
	addSerialConsoleDefault
	disableImplicitConsole
	setKernelConsole
	addDisk3
	addVsock
	disableImplicitVsock
	addVirtioConsoleMultiport
	addConsolePortTTY
	addConsolePortInOut
	hasFeature
	addVirtioFS3
	fsAddOverlayFile
	fsAddOverlayDir
	disableImplicitInit
	getDefaultInit
	fnCount
)

// bound are the functions that this package calls.
var bound = [fnCount]Symbol{
	createCtx:                 {"krun_create_ctx", "0.1.1", ""},
	freeCtx:                   {"krun_free_ctx", "0.1.1", ""},
	setVMConfig:               {"krun_set_vm_config", "0.1.1", ""},
	setRoot:                   {"krun_set_root", "0.1.1", "2.0.0"},
	setExec:                   {"krun_set_exec", "0.1.1", ""},
	startEnter:                {"krun_start_enter", "0.1.1", ""},
	setLogLevel:               {"krun_set_log_level", "0.1.1", "2.0.0"},
	setWorkdir:                {"krun_set_workdir", "0.1.3", ""},
	setPortMap:                {"krun_set_port_map", "0.1.3", ""},
	setRlimits:                {"krun_set_rlimits", "0.1.5", ""},
	setRootDisk:               {"krun_set_root_disk", "0.1.8", "2.0.0"},
	setEnv:                    {"krun_set_env", "1.3.0", ""},
	setDataDisk:               {"krun_set_data_disk", "1.5.0", "2.0.0"},
	setPasstFD:                {"krun_set_passt_fd", "1.7.0", "2.0.0"},
	addVirtioFS:               {"krun_add_virtiofs", "1.8.0", ""},
	addVsockPort:              {"krun_add_vsock_port", "1.8.0", ""},
	getShutdownEventFD:        {"krun_get_shutdown_eventfd", "1.8.0", ""},
	setConsoleOutput:          {"krun_set_console_output", "1.8.0", "2.0.0"},
	setGvproxyPath:            {"krun_set_gvproxy_path", "1.8.0", "2.0.0"},
	setNetMAC:                 {"krun_set_net_mac", "1.8.0", "2.0.0"},
	setGPUOptions:             {"krun_set_gpu_options", "1.8.0", ""},
	setSndDevice:              {"krun_set_snd_device", "1.9.0", "2.0.0"},
	setSMBIOSOEMStrings:       {"krun_set_smbios_oem_strings", "1.9.1", ""},
	addVirtioFS2:              {"krun_add_virtiofs2", "1.9.5", ""},
	addDisk:                   {"krun_add_disk", "1.9.5", ""},
	setGPUOptions2:            {"krun_set_gpu_options2", "1.9.5", ""},
	addDisk2:                  {"krun_add_disk2", "1.10.0", ""},
	addVsockPort2:             {"krun_add_vsock_port2", "1.10.0", ""},
	setKernel:                 {"krun_set_kernel", "1.11.0", ""},
	setUID:                    {"krun_setuid", "1.11.0", ""},
	setGID:                    {"krun_setgid", "1.11.0", ""},
	setNestedVirt:             {"krun_set_nested_virt", "1.11.0", ""},
	checkNestedVirt:           {"krun_check_nested_virt", "1.12.0", ""},
	splitIRQChip:              {"krun_split_irqchip", "1.12.0", ""},
	initLog:                   {"krun_init_log", "1.13.0", ""},
	addNetUnixStream:          {"krun_add_net_unixstream", "1.15.0", ""},
	addNetUnixGram:            {"krun_add_net_unixgram", "1.15.0", ""},
	addNetTap:                 {"krun_add_net_tap", "1.15.0", ""},
	setRootDiskRemount:        {"krun_set_root_disk_remount", "1.15.0", ""},
	setFirmware:               {"krun_set_firmware", "1.16.0", ""},
	getMaxVCPUs:               {"krun_get_max_vcpus", "1.16.0", ""},
	addVirtioConsoleDefault:   {"krun_add_virtio_console_default", "1.16.0", ""},
	addSerialConsoleDefault:   {"krun_add_serial_console_default", "1.16.0", ""},
	disableImplicitConsole:    {"krun_disable_implicit_console", "1.16.0", "2.0.0"},
	setKernelConsole:          {"krun_set_kernel_console", "1.16.0", ""},
	addDisk3:                  {"krun_add_disk3", "1.17.0", ""},
	addVsock:                  {"krun_add_vsock", "1.17.0", ""},
	disableImplicitVsock:      {"krun_disable_implicit_vsock", "1.17.0", "2.0.0"},
	addVirtioConsoleMultiport: {"krun_add_virtio_console_multiport", "1.17.0", ""},
	addConsolePortTTY:         {"krun_add_console_port_tty", "1.17.0", ""},
	addConsolePortInOut:       {"krun_add_console_port_inout", "1.17.0", ""},
	hasFeature:                {"krun_has_feature", "1.17.3", ""},
	addVirtioFS3:              {"krun_add_virtiofs3", "1.18.0", ""},
	fsAddOverlayFile:          {"krun_fs_add_overlay_file", "1.19.0", ""},
	fsAddOverlayDir:           {"krun_fs_add_overlay_dir", "1.19.0", ""},
	disableImplicitInit:       {"krun_disable_implicit_init", "1.19.0", ""},
	getDefaultInit:            {"krun_get_default_init", "1.19.0", ""},
}

// everywhere are functions that every build of libkrun has up to the version that drops
// them. If one is missing, the libkrun is newer.
var everywhere = []fn{setLogLevel, setConsoleOutput, setSndDevice, disableImplicitConsole, disableImplicitVsock}

// Bound lists the functions that have a method here.
func Bound() []Symbol { return slices.Clone(bound[:]) }

// known is the last libkrun that this package was written for.
const known = "1.19.0"

const (
	noDisplay   = "a sandbox has no display"
	noInput     = "a sandbox has no input device"
	noTEE       = "only in the separate builds of libkrun for trusted execution"
	noVhostUser = "needs a device process of its own beside the VM"
	withdrawn   = "withdrawn: libkrun keeps the symbol, which always fails"
	newer       = "newer than " + known + ", the last version that this package was written for"
)

// Ignored lists the functions of the C API that have no method here, each with
// the reason.
func Ignored() map[string]string {
	return map[string]string{
		"krun_add_display":               noDisplay,
		"krun_display_set_edid":          noDisplay,
		"krun_display_set_dpi":           noDisplay,
		"krun_display_set_physical_size": noDisplay,
		"krun_display_set_refresh_rate":  noDisplay,
		"krun_set_display_backend":       noDisplay,
		"krun_add_input_device":          noInput,
		"krun_add_input_device_fd":       noInput,
		"krun_set_tee_config_file":       noTEE,
		"krun_set_attestation_url":       noTEE,
		"krun_nitro_set_image":           noTEE,
		"krun_nitro_set_start_flags":     noTEE,
		"krun_add_vhost_user_device":     noVhostUser,
		"krun_set_mapped_volumes":        withdrawn,
		"krun_add_virtiofs4":             newer + "; forks carry other signatures under this name",
	}
}
