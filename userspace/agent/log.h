/* SPDX-License-Identifier: MIT */
/*
 * Log lines on standard error: with a priority prefix under systemd (sd-daemon(3)), with a time otherwise. A line never
 * carries a secret. What a peer or a caller can cause goes through log_limited(), which lets a burst through and then
 * says how many it left out.
 */
#ifndef AGENT_LOG_H
#define AGENT_LOG_H

#include <stdint.h>
#include <syslog.h>

void log_open(void);
void log_set_level(int level);
void log_line(int level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Cannot go on: logs and ends the process. */
void log_fatal(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

struct log_limit {
	_Atomic int64_t window; /* seconds, CLOCK_MONOTONIC_COARSE */
	_Atomic unsigned int lines;
};

#define LOG_LIMIT_LINES 10 /* per window and place in the code */
#define LOG_LIMIT_WINDOW 5 /* seconds */

/* Whether a line may be written now; *left_out: how many were not since the last that was. */
int log_allows(struct log_limit *limit, int level, unsigned int *left_out);

#define log_limited(level, format, ...)                                                                                \
	do {                                                                                                           \
		static struct log_limit limit_;                                                                        \
		unsigned int left_out_;                                                                                \
		if (log_allows(&limit_, level, &left_out_)) {                                                          \
			log_line(level, format, __VA_ARGS__);                                                          \
			if (left_out_)                                                                                 \
				log_line(level, "... and %u more lines like this one left out before it", left_out_);  \
		}                                                                                                      \
	} while (0)

#endif
