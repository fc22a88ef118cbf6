/* SPDX-License-Identifier: MIT */
#ifndef KTLS_RUN_SAY_H
#define KTLS_RUN_SAY_H

/* A line on standard error, which is the server's log for us; errno stays. say_more(): only with --verbose. */
__attribute__((format(printf, 1, 2))) void say(const char *format, ...);
__attribute__((format(printf, 1, 2))) void say_more(const char *format, ...);

/* At the start of a program: what standard error is. And when the program has put something else there by dup2(). */
void say_begin(void);
void say_elsewhere(void);

#endif
