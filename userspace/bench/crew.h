/* SPDX-License-Identifier: MIT */
/* The course of a run: threads, warm-up, measurement, result. */
#ifndef BENCH_CREW_H
#define BENCH_CREW_H

#include "bench.h"
#include "connection.h"

/* Load before, while and after it is measured. They return the program's exit status. */
int crew_measure(const struct settings *settings, const struct use *use);

/* Connections are opened, held, and closed. */
int crew_hold(const struct settings *settings, const struct use *use);

#endif
