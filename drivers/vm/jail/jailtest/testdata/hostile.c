/*
 * A libkrun that does as it is told, with the contract library's functions,
 * until it is to become the VM: then it becomes the program that begins on a
 * page of its own file, from a file in memory.
 */
#define _GNU_SOURCE
#define krun_start_enter contract_start_enter
#include "../../../../../krun/testdata/contract.c"
#undef krun_start_enter

#include <dlfcn.h>
#include <errno.h>
#include <sys/mman.h>

#define PAGE 4096

static int32_t become(const char *self, const char *file, size_t size)
{
	char *argv[] = { (char *)self, NULL };
	size_t start = PAGE;
	int memory = memfd_create("program", 0);

	while (start + 4 < size && memcmp(file + start, "\177ELF", 4))
		start += PAGE;
	while (start < size) {
		ssize_t n = write(memory, file + start, size - start);
		if (n <= 0)
			return -errno;
		start += n;
	}
	fexecve(memory, argv, environ);
	return -errno;
}

int32_t krun_start_enter(uint32_t ctx)
{
	Dl_info self;
	struct stat st;
	char *file;
	int fd;

	if (!dladdr(krun_start_enter, &self))
		return -ENOENT;
	fd = open(self.dli_fname, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st))
		return -errno;
	file = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (file == MAP_FAILED)
		return -errno;
	return become(self.dli_fname, file, st.st_size);
}
