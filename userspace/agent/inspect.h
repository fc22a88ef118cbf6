/* SPDX-License-Identifier: MIT */
/* What the agent would say of a certificate, for "ktlsctl cert verify" and "ktlsctl revoked": by the code that handshakes use. */
#ifndef AGENT_INSPECT_H
#define AGENT_INSPECT_H

#include <json-c/json.h>
#include <stddef.h>

#include "config.h"

/*
 * pem: what a peer would send, leaf first. name: whom the peer has to be, in the client role; may be "". The object says
 * "accepted", "steps" and the like (docs/protocol.md), or "error". Both: with "pending" a responder is being asked, and another
 * look will tell more.
 */
json_object *inspect_chain(const struct config *config, const char *service, const char *name, const char *pem,
			   size_t length);

/* What is known of a certificate's revocation: by serial number in hexadecimal, or, if that is "", what each service says of pem. */
json_object *inspect_revocation(const struct config *config, const char *serial, const char *pem, size_t length);

#endif
