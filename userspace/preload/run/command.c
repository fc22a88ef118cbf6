/* SPDX-License-Identifier: MIT */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "command.h"

#define INTERPRETERS 4 /* a script's interpreter may be a script: Linux, fs/exec.c */

#define REMEDY "its server has to hand its listener over by itself, or be run by ktls-inetd: see ktls-run(1)"

/* ---- finding ---- */

static char *in_folder(const char *folder, size_t length, const char *name)
{
	char *path;

	if (asprintf(&path, "%.*s%s%s", (int)length, folder, length > 0 ? "/" : "", name) < 0)
		return NULL;
	if (access(path, X_OK) == 0)
		return path;
	free(path);
	return NULL;
}

char *command_find(const char *name)
{
	const char *folders = getenv("PATH");
	char *path = NULL;

	if (strchr(name, '/'))
		return strdup(name);
	for (folders = folders ? folders : "/usr/bin:/bin"; !path; folders++) {
		size_t length = strcspn(folders, ":");

		path = in_folder(folders, length, name);
		folders += length;
		if (!*folders)
			break;
	}
	if (!path)
		errno = ENOENT;
	return path;
}

/* ---- judging ---- */

struct file {
	const unsigned char *bytes;
	size_t size;
};

static bool map(const char *path, struct file *file)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat status;
	void *bytes;

	if (fd < 0)
		return false;
	bytes = MAP_FAILED;
	if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0)
		bytes = mmap(NULL, status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (bytes == MAP_FAILED)
		return false;
	*file = (struct file){.bytes = bytes, .size = status.st_size};
	return true;
}

static bool is_inside(const struct file *file, uint64_t offset, uint64_t length)
{
	return offset <= file->size && length <= file->size - offset;
}

/* The loader runs a program with another's rights without what the environment says. */
static bool changes_rights(const char *path, char *why, size_t why_size)
{
	struct stat status;
	const char *what = NULL;

	if (stat(path, &status) < 0)
		return false;
	if (status.st_mode & S_ISUID && status.st_uid != getuid())
		what = "setuid";
	else if (status.st_mode & S_ISGID && status.st_gid != getgid())
		what = "setgid";
	else if (getuid() != 0 && getxattr(path, "security.capability", NULL, 0) > 0)
		what = "given capabilities (setcap)";
	if (what)
		snprintf(why, why_size,
			 "%s is %s: the loader preloads nothing into such programs; start it as the user that it "
			 "becomes, or give the service manager the capabilities",
			 path, what);
	return what;
}

static const ElfW(Phdr) * program_header(const struct file *file, unsigned int type, unsigned int *from)
{
	const ElfW(Ehdr) *elf = (const void *)file->bytes;

	if (elf->e_phentsize != sizeof(ElfW(Phdr)) ||
	    !is_inside(file, elf->e_phoff, (uint64_t)elf->e_phnum * sizeof(ElfW(Phdr))))
		return NULL;
	for (; *from < elf->e_phnum; (*from)++) {
		const ElfW(Phdr) *header = (const void *)(file->bytes + elf->e_phoff + *from * sizeof(*header));

		if (header->p_type == type && is_inside(file, header->p_offset, header->p_filesz)) {
			(*from)++;
			return header;
		}
	}
	return NULL;
}

/* The loader that it names; NULL: none. */
static const char *loader_of(const struct file *file)
{
	unsigned int from = 0;
	const ElfW(Phdr) *header = program_header(file, PT_INTERP, &from);

	if (!header || header->p_filesz == 0 || file->bytes[header->p_offset + header->p_filesz - 1] != '\0')
		return NULL;
	return (const char *)file->bytes + header->p_offset;
}

/* Go's linker leaves a note with the name "Go". */
static bool is_go(const struct file *file)
{
	const ElfW(Phdr) * header;
	unsigned int from = 0;

	while ((header = program_header(file, PT_NOTE, &from))) {
		const ElfW(Nhdr) *note = (const void *)(file->bytes + header->p_offset);

		if (header->p_filesz >= sizeof(*note) + 4 && note->n_namesz == 4 && memcmp(note + 1, "Go\0", 4) == 0)
			return true;
	}
	return false;
}

static enum command_fitness judge_elf(const char *path, const struct file *file, char *why, size_t why_size)
{
	const ElfW(Ehdr) *elf = (const void *)file->bytes;
	const ElfW(Ehdr) * own_elf;
	struct file own;
	const char *loader, *own_loader;
	enum command_fitness fitness = COMMAND_FITS;

	if (file->size < sizeof(*elf) || !map("/proc/self/exe", &own))
		return COMMAND_FITS;
	own_elf = (const void *)own.bytes;
	own_loader = loader_of(&own);
	if (elf->e_ident[EI_CLASS] != own_elf->e_ident[EI_CLASS] || elf->e_machine != own_elf->e_machine) {
		snprintf(why, why_size,
			 "%s is for another kind of processor than this ktls-run: it can't preload our library; use "
			 "a ktls-run of its kind",
			 path);
		fitness = COMMAND_UNFIT;
	} else if (!(loader = loader_of(file))) {
		snprintf(why, why_size, "%s is a static program: nothing can be preloaded into it; " REMEDY, path);
		fitness = COMMAND_UNFIT;
	} else if (own_loader && strcmp(loader, own_loader) != 0) {
		snprintf(why, why_size, "%s is made for another C library (its loader is %s, ours %s); " REMEDY, path,
			 loader, own_loader);
		fitness = COMMAND_UNFIT;
	} else if (is_go(file)) {
		snprintf(why, why_size,
			 "%s is written in Go, and makes its system calls by itself, past the C library; " REMEDY,
			 path);
		fitness = COMMAND_UNFIT;
	}
	munmap((void *)own.bytes, own.size);
	return fitness;
}

/* "#!/usr/bin/env python3": the interpreter of a script; what env would start is not looked for. */
static bool interpreter_of(const struct file *file, char *path, size_t size)
{
	size_t begin = 2, length = 0;

	while (begin < file->size && (file->bytes[begin] == ' ' || file->bytes[begin] == '\t'))
		begin++;
	while (begin + length < file->size && !strchr(" \t\n", file->bytes[begin + length]))
		length++;
	return (size_t)snprintf(path, size, "%.*s", (int)length, file->bytes + begin) < size && length > 0;
}

static enum command_fitness judge(const char *path, char *why, size_t why_size, int depth)
{
	enum command_fitness fitness = COMMAND_FITS;
	char interpreter[256];
	struct file file;

	if (changes_rights(path, why, why_size))
		return COMMAND_UNFIT;
	if (!map(path, &file)) /* exec says why, or may do what we can't */
		return COMMAND_FITS;
	if (file.size >= SELFMAG && memcmp(file.bytes, ELFMAG, SELFMAG) == 0)
		fitness = judge_elf(path, &file, why, why_size);
	else if (depth < INTERPRETERS && file.size > 2 && memcmp(file.bytes, "#!", 2) == 0 &&
		 interpreter_of(&file, interpreter, sizeof(interpreter)))
		fitness = judge(interpreter, why, why_size, depth + 1);
	munmap((void *)file.bytes, file.size);
	return fitness;
}

enum command_fitness command_judge(const char *path, char *why, size_t why_size)
{
	return judge(path, why, why_size, 0);
}
