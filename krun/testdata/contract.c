/*
 * A stand-in for libkrun with its ABI and none of its work: each function
 * appends one line with its arguments to the file named by CONTRACT_LOG, or else
 * writes it to standard error, and returns 0, or what CONTRACT_RETURN says ("krun_set_root=-22,…").
 *
 * VERSION pretends to be a release, as major * 10000 + minor * 100 + patch: a
 * function that came later is not there, nor one that was dropped before.
 * krun_start_enter ends the process with the status CONTRACT_EXIT, as a VM does,
 * unless CONTRACT_RETURN names it. Without a status it is 99: a test that starts
 * a VM by mistake does not look passed.
 *
 * Of a descriptor it records the lowest other number that stands for the same
 * file, if any: the caller's own, when it was given a duplicate.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef FIRMWARE
/* A kernel that ends at 64 MiB. */
char *krunfw_get_kernel(uint64_t *guest, uint64_t *entry, size_t *size)
{
	*guest = *entry = 16 << 20;
	*size = 48 << 20;
	return NULL;
}
#else

typedef const char *str;
typedef const char *const *vec;

/* quoted writes a string as Go's %q would for printable text. */
static void quoted(FILE *f, str s)
{
	if (s)
		fprintf(f, "\"%s\"", s);
	else
		fputs("NULL", f);
}

/* original finds the descriptor that fd duplicates; -1 when fd is not open, and
 * -2 for one that an exec would not close. */
static int original(int fd)
{
	struct stat want, have;
	if (fstat(fd, &want))
		return -1;
	if (fd > 2 && !(fcntl(fd, F_GETFD) & FD_CLOEXEC))
		return -2;
	for (int i = 0; i < 1024; i++)
		if (i != fd && !fstat(i, &have) && have.st_dev == want.st_dev && have.st_ino == want.st_ino)
			return i;
	return fd;
}

/* record: u uint32, c uint8, f descriptor, b bool, w uint64, s string, v vector,
 * m six bytes, p bytes whose length comes next. */
static int32_t record(int32_t ret, str name, str kinds, ...)
{
	str path = getenv("CONTRACT_LOG");
	FILE *f = path ? fopen(path, "a") : stderr;
	va_list ap;
	va_start(ap, kinds);
	fputs(name, f);
	for (str k = kinds; *k; k++) {
		fputc(' ', f);
		switch (*k) {
		case 'u': fprintf(f, "%" PRIu32, va_arg(ap, uint32_t)); break;
		case 'c': fprintf(f, "%d", va_arg(ap, int)); break;
		case 'f': fprintf(f, "%d", original(va_arg(ap, int))); break;
		case 'b': fputs(va_arg(ap, int) ? "true" : "false", f); break;
		case 'w': fprintf(f, "%" PRIu64, va_arg(ap, uint64_t)); break;
		case 's': quoted(f, va_arg(ap, str)); break;
		case 'm': {
			const uint8_t *m = va_arg(ap, const uint8_t *);
			fprintf(f, "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]);
			break;
		}
		case 'p': {
			str p = va_arg(ap, str);
			size_t n = va_arg(ap, size_t);
			fprintf(f, "%zu:%.*s", n, (int)n, p ? p : "");
			break;
		}
		case 'v': {
			vec v = va_arg(ap, vec);
			if (!v) {
				fputs("NULL", f);
				break;
			}
			fputc('[', f);
			for (; *v; v++)
				quoted(f, *v);
			fputc(']', f);
		}
		}
	}
	va_end(ap);
	fputc('\n', f);
	if (path)
		fclose(f);
	for (str r = getenv("CONTRACT_RETURN"); r && *r; r = strchr(r, ',') ? strchr(r, ',') + 1 : "") {
		size_t n = strlen(name);
		if (!strncmp(r, name, n) && r[n] == '=')
			return atoi(r + n + 1);
	}
	return ret;
}

#define RECORD(...) { return record(0, __func__, __VA_ARGS__); }

int32_t krun_create_ctx(void) { return record(7, __func__, ""); }
int32_t krun_free_ctx(uint32_t ctx) RECORD("u", ctx)
int32_t krun_set_vm_config(uint32_t ctx, uint8_t cpus, uint32_t mib) RECORD("ucu", ctx, cpus, mib)
int32_t krun_set_port_map(uint32_t ctx, vec ports) RECORD("uv", ctx, ports)
int32_t krun_set_workdir(uint32_t ctx, str dir) RECORD("us", ctx, dir)
int32_t krun_set_rlimits(uint32_t ctx, vec limits) RECORD("uv", ctx, limits)
int32_t krun_set_exec(uint32_t ctx, str path, vec argv, vec envp) RECORD("usvv", ctx, path, argv, envp)
int32_t krun_set_env(uint32_t ctx, vec envp) RECORD("uv", ctx, envp)
int32_t krun_add_virtiofs(uint32_t ctx, str tag, str path) RECORD("uss", ctx, tag, path)
int32_t krun_add_vsock_port(uint32_t ctx, uint32_t port, str path) RECORD("uus", ctx, port, path)
int32_t krun_get_shutdown_eventfd(uint32_t ctx) { return record(9, __func__, "u", ctx); }
int32_t krun_set_gpu_options(uint32_t ctx, uint32_t flags) RECORD("uu", ctx, flags)
int32_t krun_start_enter(uint32_t ctx)
{
	int32_t ret = record(1, __func__, "u", ctx);
	str code = getenv("CONTRACT_EXIT");
	if (ret != 1)
		return ret == 2 ? 0 : ret; /* 2 stands for a start that returns 0 */
	exit(code ? atoi(code) : 99);
}

#if VERSION < 20000
int32_t krun_set_log_level(uint32_t level) RECORD("u", level)
int32_t krun_set_root(uint32_t ctx, str path) RECORD("us", ctx, path)
int32_t krun_set_mapped_volumes(uint32_t ctx, vec volumes) RECORD("uv", ctx, volumes)
int32_t krun_set_root_disk(uint32_t ctx, str path) RECORD("us", ctx, path)
int32_t krun_set_data_disk(uint32_t ctx, str path) RECORD("us", ctx, path)
int32_t krun_set_passt_fd(uint32_t ctx, int fd) RECORD("uf", ctx, fd)
int32_t krun_set_console_output(uint32_t ctx, str path) RECORD("us", ctx, path)
int32_t krun_set_gvproxy_path(uint32_t ctx, str path) RECORD("us", ctx, path)
int32_t krun_set_net_mac(uint32_t ctx, const uint8_t *mac) RECORD("um", ctx, mac)
int32_t krun_set_snd_device(uint32_t ctx, bool enable) RECORD("ub", ctx, enable)
#endif
#if VERSION >= 11600 && VERSION < 20000
int32_t krun_disable_implicit_console(uint32_t ctx) RECORD("u", ctx)
#endif
#if VERSION >= 11700 && VERSION < 20000
int32_t krun_disable_implicit_vsock(uint32_t ctx) RECORD("u", ctx)
#endif

#if VERSION >= 10901
int32_t krun_set_smbios_oem_strings(uint32_t ctx, vec strings) RECORD("uv", ctx, strings)
#endif
#if VERSION >= 10905
int32_t krun_add_virtiofs2(uint32_t ctx, str tag, str path, uint64_t shm) RECORD("ussw", ctx, tag, path, shm)
int32_t krun_add_disk(uint32_t ctx, str id, str path, bool ro) RECORD("ussb", ctx, id, path, ro)
int32_t krun_set_gpu_options2(uint32_t ctx, uint32_t flags, uint64_t shm) RECORD("uuw", ctx, flags, shm)
#endif
#if VERSION >= 11000
int32_t krun_add_disk2(uint32_t ctx, str id, str path, uint32_t format, bool ro) RECORD("ussub", ctx, id, path, format, ro)
int32_t krun_add_vsock_port2(uint32_t ctx, uint32_t port, str path, bool listen) RECORD("uusb", ctx, port, path, listen)
#endif
#if VERSION >= 11100
int32_t krun_set_kernel(uint32_t ctx, str path, uint32_t format, str initramfs, str cmdline) RECORD("ususs", ctx, path, format, initramfs, cmdline)
int32_t krun_setuid(uint32_t ctx, uid_t uid) RECORD("uu", ctx, uid)
int32_t krun_setgid(uint32_t ctx, gid_t gid) RECORD("uu", ctx, gid)
int32_t krun_set_nested_virt(uint32_t ctx, bool enabled) RECORD("ub", ctx, enabled)
#endif
#if VERSION >= 11200
int32_t krun_check_nested_virt(void) { return record(1, __func__, ""); }
int32_t krun_split_irqchip(uint32_t ctx, bool enable) RECORD("ub", ctx, enable)
#endif
#if VERSION >= 11300
int32_t krun_init_log(int fd, uint32_t level, uint32_t style, uint32_t options) RECORD("fuuu", fd, level, style, options)
#endif
#if VERSION >= 11500
int32_t krun_add_net_unixstream(uint32_t ctx, str path, int fd, uint8_t *mac, uint32_t features, uint32_t flags) RECORD("usfmuu", ctx, path, fd, mac, features, flags)
int32_t krun_add_net_unixgram(uint32_t ctx, str path, int fd, uint8_t *mac, uint32_t features, uint32_t flags) RECORD("usfmuu", ctx, path, fd, mac, features, flags)
int32_t krun_add_net_tap(uint32_t ctx, char *name, uint8_t *mac, uint32_t features, uint32_t flags) RECORD("usmuu", ctx, name, mac, features, flags)
int32_t krun_set_root_disk_remount(uint32_t ctx, str device, str fstype, str options) RECORD("usss", ctx, device, fstype, options)
#endif
#if VERSION >= 11600
int32_t krun_set_firmware(uint32_t ctx, str path) RECORD("us", ctx, path)
int32_t krun_get_max_vcpus(void) { return record(16, __func__, ""); }
int32_t krun_set_kernel_console(uint32_t ctx, str console) RECORD("us", ctx, console)
int32_t krun_add_virtio_console_default(uint32_t ctx, int in, int out, int err) RECORD("ufff", ctx, in, out, err)
int32_t krun_add_serial_console_default(uint32_t ctx, int in, int out) RECORD("uff", ctx, in, out)
#endif
#if VERSION >= 11700
int32_t krun_add_disk3(uint32_t ctx, str id, str path, uint32_t format, bool ro, bool direct, uint32_t sync) RECORD("ussubbu", ctx, id, path, format, ro, direct, sync)
int32_t krun_add_vsock(uint32_t ctx, uint32_t tsi) RECORD("uu", ctx, tsi)
int32_t krun_add_virtio_console_multiport(uint32_t ctx) { return record(0, __func__, "u", ctx); }
int32_t krun_add_console_port_tty(uint32_t ctx, uint32_t console, str name, int fd) RECORD("uusf", ctx, console, name, fd)
int32_t krun_add_console_port_inout(uint32_t ctx, uint32_t console, str name, int in, int out) RECORD("uusff", ctx, console, name, in, out)
#endif
#if VERSION >= 11703
int32_t krun_has_feature(uint64_t feature) { return record(1, __func__, "w", feature); }
#endif
#if VERSION >= 11800
int32_t krun_add_virtiofs3(uint32_t ctx, str tag, str path, uint64_t shm, bool ro) RECORD("usswb", ctx, tag, path, shm, ro)
#endif
#if VERSION >= 11900
int32_t krun_fs_add_overlay_file(uint32_t ctx, str tag, str path, const uint8_t *data, size_t size, uint32_t mode, bool once) RECORD("usspub", ctx, tag, path, data, size, mode, once)
int32_t krun_fs_add_overlay_dir(uint32_t ctx, str tag, str path, uint32_t mode) RECORD("ussu", ctx, tag, path, mode)
int32_t krun_disable_implicit_init(uint32_t ctx) RECORD("u", ctx)
int32_t krun_get_default_init(const uint8_t **data, size_t *size)
{
	static const uint8_t init[] = "contract init";
	*data = init;
	*size = sizeof init - 1;
	return record(0, __func__, "");
}
#endif
#if VERSION > 11900
int32_t krun_add_virtiofs4(uint32_t ctx, str tag, str path, uint64_t shm, bool ro, uint32_t semantics) RECORD("usswbu", ctx, tag, path, shm, ro, semantics)
#endif
#endif /* FIRMWARE */
