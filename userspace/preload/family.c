/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <stdatomic.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "family.h"
#include "say.h"
#include "settings.h"
#include "table.h"

#define MAGIC UINT64_C(0x6b746c732d72756e)

static struct family {
	uint64_t magic;
	_Atomic unsigned int processes;
	_Atomic bool sees_all;			     /* of what the command becomes and starts */
	_Atomic uint8_t ports[(UINT16_MAX + 1) / 8]; /* bits: somebody has listened; that of port 0: on any */
	_Alignas(64) unsigned char memory[FAMILY_MEMORY];
} * family;

static _Atomic int hidden = -1; /* what family is a map of */

static bool map(int fd)
{
	void *memory = mmap(NULL, sizeof(*family), PROT_READ | PROT_WRITE,
			    fd < 0 ? MAP_SHARED | MAP_ANONYMOUS : MAP_SHARED, fd, 0);

	if (memory == MAP_FAILED)
		return false;
	family = memory;
	return true;
}

static void hide_away(int fd)
{
	int number = table_hide_away(fd);

	close(fd);
	atomic_store(&hidden, number);
}

static bool join(int passed)
{
	struct stat status;

	if (fstat(passed, &status) < 0 || !S_ISREG(status.st_mode) || status.st_size != sizeof(*family) || !map(passed))
		return false;
	if (family->magic == MAGIC) {
		hide_away(passed);
		return true;
	}
	munmap(family, sizeof(*family));
	family = NULL;
	return false;
}

/* Without a descriptor it is known to children by fork alone. */
static void make(void)
{
	int fd = memfd_create("ktls-run", MFD_CLOEXEC);

	if (fd >= 0 && ftruncate(fd, sizeof(*family)) == 0 && map(fd)) {
		hide_away(fd);
	} else {
		if (fd >= 0)
			close(fd);
		if (!map(-1))
			return;
	}
	family->magic = MAGIC;
	family->processes = 1;
	family->sees_all = settings_is_command();
}

bool family_begin(int passed)
{
	if (passed >= 0 && join(passed))
		return true;
	make();
	return false;
}

int family_pass(void)
{
	int fd = atomic_load(&hidden);

	return fd < 0 ? -1 : fcntl(fd, F_DUPFD, 3);
}

void family_grows(void)
{
	if (family)
		atomic_fetch_add(&family->processes, 1);
}

void family_shrinks(void)
{
	if (family)
		atomic_fetch_sub(&family->processes, 1);
}

void family_loses_sight(void)
{
	if (family)
		atomic_store(&family->sees_all, false);
}

void family_note_port(uint16_t port)
{
	if (!family)
		return;
	atomic_fetch_or(&family->ports[port / 8], 1 << port % 8);
	atomic_fetch_or(&family->ports[0], 1);
}

static bool has_port(uint16_t port)
{
	return atomic_load(&family->ports[port / 8]) >> port % 8 & 1;
}

bool family_has_listened(void)
{
	return family && has_port(0);
}

static void say_what_is_missing(void)
{
	const struct port *ports;
	size_t count = settings_ports(&ports);

	if (count == 0 && !has_port(0))
		say("the command has ended, and never listened on a TCP port, as far as the C library knows: if it served, then "
		    "in clear");
	for (size_t i = 0; i < count; i++)
		if (!has_port(ports[i].number))
			say("port %u was never listened on, as far as the C library knows: if it was served, then in clear",
			    ports[i].number);
}

void family_leave(void)
{
	static bool left;

	if (!family || left)
		return;
	left = true;
	if (atomic_fetch_sub(&family->processes, 1) == 1 && atomic_load(&family->sees_all))
		say_what_is_missing();
}

void *family_memory(void)
{
	return family ? family->memory : NULL;
}

bool family_make_room(int number)
{
	int now;

	if (number != atomic_load(&hidden))
		return false;
	now = table_hide_away(number);
	table_show(number);
	close(number);
	atomic_store(&hidden, now);
	return true;
}
