/* SPDX-License-Identifier: MIT */
/* A configuration file. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../userspace/agent/settings.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct complaints complaints;
	static char path[32];
	static int fd = -1;

	if (fd < 0)
		fd = memfd_create("settings", MFD_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	memset(&complaints, 0, sizeof(complaints));
	if (ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size)
		settings_put(settings_read(path, &complaints));
	return 0;
}

size_t fuzz_seed(unsigned int number, uint8_t data[static FUZZ_INPUT_MAX])
{
	static const char *const files[] = {
		"[ktlsd]\nhandoff_socket = /run/h\nhandoff_mode = 0660\nworkers = 4\nmax_callers = 7\n"
		"drain_timeout = 1.5\ninstall = auto\nlog_level = debug\nuser = ktlsd\nkey_log_file = /tmp/k\n"
		"key_file = none\ntoken_lifetime = 60\n",
		"# comment\n[service web]\nrole = server\ncertificate = a.pem\nkey = a.key\ncertificate = b.pem\n"
		"ca = c.pem, d.pem\nclient_certificate = require\nalpn = h2, http/1.1\ntickets = 2\ntimeout = 0.5\n",
		"[service client]\nrole = client\nmin_version = 1.2\nmax_version = 1.3\nciphers = TLS_AES_128_GCM_SHA256\n"
		"groups = X25519, P-256\nallow_users = root, 12\nallow_groups = 5\nallow_everyone = no\n",
	};

	if (number >= sizeof(files) / sizeof(*files))
		return 0;
	memcpy(data, files[number], strlen(files[number]));
	return strlen(files[number]);
}
