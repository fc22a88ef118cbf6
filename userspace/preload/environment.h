/* SPDX-License-Identifier: MIT */
/*
 * What ktls-run tells its library, and what one program tells the next in the same process: the names of variables. Strings
 * in them are separated by newlines.
 */
#ifndef KTLS_RUN_ENVIRONMENT_H
#define KTLS_RUN_ENVIRONMENT_H

#define RUN_SERVICE "KTLS_RUN_SERVICE" /* the service of every port that RUN_PORTS does not name; missing: none */
#define RUN_PORTS "KTLS_RUN_PORTS"     /* "443=web", "8443=api,proxy" */
#define RUN_PROXY "KTLS_RUN_PROXY"     /* "1": a PROXY header on every connection */
#define RUN_VERBOSE "KTLS_RUN_VERBOSE" /* "1" */
#define RUN_PID "KTLS_RUN_PID"	       /* "1234 5f3a": of the command, and what tells one ktls-run from another */

/* "s5": descriptor of the family's memory; "l6=960": listener 6, hidden 960; "c7a1=3": connection by its cookie, and its number */
#define RUN_INHERIT "KTLS_RUN_INHERIT"

#endif
