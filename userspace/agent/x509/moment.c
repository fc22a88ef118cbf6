/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <time.h>

#include "moment.h"

int64_t moment_of(const ASN1_TIME *time)
{
	struct tm tm;

	return ASN1_TIME_to_tm(time, &tm) == 1 ? timegm(&tm) : INT64_MIN;
}

const char *moment_text(int64_t seconds, char text[MOMENT_TEXT])
{
	time_t time = seconds;
	struct tm tm;

	if (!gmtime_r(&time, &tm) || !strftime(text, MOMENT_TEXT, "%Y-%m-%dT%H:%M:%SZ", &tm))
		snprintf(text, MOMENT_TEXT, "(no date)");
	return text;
}
