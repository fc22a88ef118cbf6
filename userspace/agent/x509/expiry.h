/* SPDX-License-Identifier: MIT */
/* When a service's certificates end, and whom that is told in time. */
#ifndef AGENT_EXPIRY_H
#define AGENT_EXPIRY_H

#include <time.h>

struct expiry {
	char *file; /* with the certificate that ends first; NULL: the service has none */
	time_t ends;
	unsigned int told; /* of the warnings, so many are over */
};

#define EXPIRY_DATE 32 /* bytes of a date in words */

/* earlier: of the service's last generation, so that nothing is told twice of one certificate; may be NULL. */
void expiry_set(struct expiry *expiry, const char *file, time_t ends, const struct expiry *earlier);

/* Logs a warning 30, 7 and 1 days before the end, an error behind it, once each. */
void expiry_warn(struct expiry *expiry, const char *service, time_t now);

/* Rounded down: 0 in the last 24 hours, negative when it is over. */
long expiry_days(const struct expiry *expiry, time_t now);

const char *expiry_date(const struct expiry *expiry, char text[static EXPIRY_DATE]);

#endif
