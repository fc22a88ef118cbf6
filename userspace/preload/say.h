/* SPDX-License-Identifier: MIT */
#ifndef KTLS_RUN_SAY_H
#define KTLS_RUN_SAY_H

/* A line on standard error, which is the server's log for us; errno stays. say_more(): only with --verbose. */
__attribute__((format(printf, 1, 2))) void say(const char *format, ...);
__attribute__((format(printf, 1, 2))) void say_more(const char *format, ...);

#endif
