/* SPDX-License-Identifier: MIT */
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fitness.h"

#define INTERPRETERS 4 /* a script's interpreter may be a script: Linux, fs/exec.c */

#define REMEDY "its server has to hand its listener over by itself, or be run by ktls-inetd: see ktls-run(1)"

/* ---- finding ---- */

bool fitness_find(const char *name, char path[static PATH_MAX])
{
	const char *folders = getenv("PATH");

	if (strchr(name, '/'))
		return snprintf(path, PATH_MAX, "%s", name) < PATH_MAX;
	for (folders = folders ? folders : "/usr/bin:/bin";; folders++) {
		int length = strcspn(folders, ":");

		if (snprintf(path, PATH_MAX, "%.*s%s%s", length, folders, length > 0 ? "/" : "", name) < PATH_MAX &&
		    access(path, X_OK) == 0)
			return true;
		folders += length;
		if (!*folders)
			return false;
	}
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

/* The loader runs a program whose rights are not its user's without what the environment says (ld.so(8), AT_SECURE). */
static bool changes_rights(const char *path, char *why, size_t why_size)
{
	bool may_change = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1;
	struct stat status;
	const char *what = NULL;

	if (stat(path, &status) < 0)
		return false;
	if (may_change && status.st_mode & S_ISUID && status.st_uid != getuid())
		what = "setuid";
	else if (may_change && status.st_mode & S_ISGID && status.st_mode & S_IXGRP && status.st_gid != getgid())
		what = "setgid";
	else if (may_change && getuid() != 0 && getxattr(path, "security.capability", NULL, 0) > 0)
		what = "given capabilities (setcap)";
	else if (geteuid() != getuid() || getegid() != getgid())
		what = "started with an effective user or group that is not the real one";
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

/* own: of the program that we are in; NULL: it can't be seen. */
static bool fits_beside(const char *path, const struct file *file, const struct file *own, char *why, size_t why_size)
{
	const ElfW(Ehdr) *elf = (const void *)file->bytes;
	const ElfW(Ehdr) *own_elf = own ? (const void *)own->bytes : elf;
	const char *loader, *own_loader = own ? loader_of(own) : NULL;

	if (elf->e_ident[EI_CLASS] != own_elf->e_ident[EI_CLASS] || elf->e_machine != own_elf->e_machine) {
		snprintf(why, why_size,
			 "%s is for another kind of processor than this ktls-run: it can't preload our library; use "
			 "a ktls-run of its kind",
			 path);
	} else if (!(loader = loader_of(file))) {
		snprintf(why, why_size, "%s is a static program: nothing can be preloaded into it; " REMEDY, path);
	} else if (own_loader && strcmp(loader, own_loader) != 0) {
		snprintf(why, why_size, "%s is made for another C library (its loader is %s, ours %s); " REMEDY, path,
			 loader, own_loader);
	} else if (is_go(file)) {
		snprintf(why, why_size,
			 "%s is written in Go, and makes its system calls by itself, past the C library; " REMEDY,
			 path);
	} else {
		return true;
	}
	return false;
}

static bool judge_elf(const char *path, const struct file *file, char *why, size_t why_size)
{
	struct file own;
	bool fits, seen;

	if (file->size < sizeof(ElfW(Ehdr)))
		return true;
	seen = map("/proc/self/exe", &own);
	fits = fits_beside(path, file, seen && own.size >= sizeof(ElfW(Ehdr)) ? &own : NULL, why, why_size);
	if (seen)
		munmap((void *)own.bytes, own.size);
	return fits;
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

static bool judge(const char *path, char *why, size_t why_size, int depth)
{
	char interpreter[256];
	struct file file;
	bool fits = true;

	if (changes_rights(path, why, why_size))
		return false;
	if (!map(path, &file)) /* exec says why, or may do what we can't */
		return true;
	if (file.size >= SELFMAG && memcmp(file.bytes, ELFMAG, SELFMAG) == 0)
		fits = judge_elf(path, &file, why, why_size);
	else if (depth < INTERPRETERS && file.size > 2 && memcmp(file.bytes, "#!", 2) == 0 &&
		 interpreter_of(&file, interpreter, sizeof(interpreter)))
		fits = judge(interpreter, why, why_size, depth + 1);
	munmap((void *)file.bytes, file.size);
	return fits;
}

bool fitness_of(const char *path, const char *library, char *why, size_t why_size)
{
	if (library && access(library, R_OK) < 0) {
		snprintf(
			why, why_size,
			"%s: %s, which is to be preloaded, can't be read from here (another root folder, or a user who may "
			"not?)",
			path, library);
		return false;
	}
	return judge(path, why, why_size, 0);
}
