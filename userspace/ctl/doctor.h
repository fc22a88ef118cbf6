/* SPDX-License-Identifier: MIT */
/* ktlsctl doctor: checks, and what they find. */
#ifndef KTLSD_DOCTOR_H
#define KTLSD_DOCTOR_H

enum verdict {
	VERDICT_OK,
	VERDICT_WARN, /* works, with less */
	VERDICT_FAIL, /* ktlsd can't work like this */
};

/* remedy: what to do about it; NULL if nothing needs to be done. */
void found(enum verdict verdict, const char *check, const char *remedy, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* Each check reports at least one finding. */
void check_kernel_tls(void);
void check_io_uring(void);
void check_handshake_family(void);
void check_module(void);
void check_agent(void);

#endif
