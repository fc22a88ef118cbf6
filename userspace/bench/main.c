/* SPDX-License-Identifier: MIT */
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "options.h"

struct mode {
	const char *name;
	enum mode_bit bit;
	int (*run)(const struct settings *settings);
	const char *help;
};

static const struct mode modes[] = {
	{"handshake", MODE_HANDSHAKE, mode_handshake, "connections: connect, handshake, one GET, orderly close"},
	{"stream", MODE_STREAM, mode_stream, "much data over a few connections: download, or --upload"},
	{"rr", MODE_RR, mode_rr, "requests and responses over connections that stay open"},
	{"idle", MODE_IDLE, mode_idle, "opens connections and holds them: what memory do they take?"},
	{"slow", MODE_SLOW, mode_slow,
	 "keeps handshakes half open, a byte at a time: what does the server do with them?"},
	{"floor", MODE_FLOOR, mode_floor, "CPU time of the server's side of a handshake in OpenSSL alone, in memory"},
	{0},
};

static const char examples[] =
	"\nExamples:\n"
	"  ktls-bench handshake --resume 50 --server-pid $(pidof -s nginx) 127.0.0.1:443\n"
	"  ktls-bench handshake --rate 500 --duration 30 --json 127.0.0.1:443 >before.json\n"
	"  ktls-bench rr --path /small --connections 64 --rate 2000 127.0.0.1:443\n"
	"  ktls-bench stream --path /large --bytes 10G --kernel-tls --connections 4 127.0.0.1:443\n"
	"  ktls-bench idle --connections 10000 --server-cgroup system.slice/nginx.service 127.0.0.1:443\n"
	"  ktls-bench diff before.json after.json\n"
	"\n"
	"Several targets take turns. The server's certificate is not verified unless --ca is given. The exit status is 1 if\n"
	"any connection failed, if less than 95 % of --rate was achieved or if fewer than 99 % of what should have resumed did;\n"
	"what was measured is printed all the same.\n";

int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static int print_usage(void)
{
	const struct mode *mode;

	puts("usage: ktls-bench handshake|stream|rr|idle|slow [OPTION...] HOST:PORT...\n"
	     "       ktls-bench floor [OPTION...] --cert FILE --key FILE\n"
	     "       ktls-bench diff A B\n\n"
	     "Loads TLS servers, and says what that cost them.\n");
	for (mode = modes; mode->name; mode++)
		printf("  %-10s %s\n", mode->name, mode->help);
	printf("  %-10s %s\n", "diff", "compares results of --json, one or several to a file, pair by pair");
	options_print(stdout);
	fputs(examples, stdout);
	return 0;
}

int main(int argc, char **argv)
{
	struct settings settings = {
		.version = TLS1_3_VERSION,
		.opening = 64,
		.threads = 1,
		.size = 64,
		.tickets = 2,
		.batch = 32,
		.duration_s = 10,
		.warmup_s = 1,
		.timeout_s = 10,
		.interval_s = 1,
	};
	const struct mode *mode;
	int i;

	if (argc < 2)
		misused("a mode is missing", "");
	for (i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0)
			return print_usage();
	}
	if (strcmp(argv[1], "diff") == 0) {
		if (argc != 4)
			misused("diff takes two files", "");
		return mode_diff(argv[2], argv[3]);
	}
	for (mode = modes; mode->name && strcmp(mode->name, argv[1]) != 0; mode++)
		;
	if (!mode->name)
		misused("unknown mode ", argv[1]);
	options_read(&settings, mode->bit, argv + 2);
	return mode->run(&settings);
}
