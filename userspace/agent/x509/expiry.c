/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "../log.h"
#include "expiry.h"

#define DAY (24 * 60 * 60)

/* Days that are left when it is told: warnings, then the error. */
static const int told_at[] = {30, 7, 1, 0};
#define TOLD_ALL (sizeof(told_at) / sizeof(*told_at))

void expiry_set(struct expiry *expiry, const char *file, time_t ends, const struct expiry *earlier)
{
	expiry->file = strdup(file);
	if (!expiry->file)
		log_fatal("out of memory");
	expiry->ends = ends;
	if (earlier && earlier->file && earlier->ends == ends && strcmp(earlier->file, file) == 0)
		expiry->told = earlier->told;
}

long expiry_days(const struct expiry *expiry, time_t now)
{
	time_t left = expiry->ends - now;

	return left >= 0 ? left / DAY : -((-left + DAY - 1) / DAY);
}

const char *expiry_date(const struct expiry *expiry, char text[static EXPIRY_DATE])
{
	struct tm tm;

	if (!gmtime_r(&expiry->ends, &tm) || strftime(text, EXPIRY_DATE, "%Y-%m-%d %H:%M:%S UTC", &tm) == 0)
		strcpy(text, "a date out of range");
	return text;
}

void expiry_warn(struct expiry *expiry, const char *service, time_t now)
{
	unsigned int due = expiry->told;
	char date[EXPIRY_DATE];

	while (due < TOLD_ALL && expiry->ends - now <= (time_t)told_at[due] * DAY)
		due++;
	if (!expiry->file || due == expiry->told)
		return;
	expiry->told = due;
	expiry_date(expiry, date);
	if (due == TOLD_ALL)
		log_line(LOG_ERR, "service \"%s\": the certificate in %s expired on %s; peers refuse it", service,
			 expiry->file, date);
	else
		log_line(LOG_WARNING, "service \"%s\": the certificate in %s expires on %s, within %d day%s; renew it",
			 service, expiry->file, date, told_at[due - 1], told_at[due - 1] == 1 ? "" : "s");
}
