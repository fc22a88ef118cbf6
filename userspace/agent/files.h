/* SPDX-License-Identifier: MIT */
/* Files that the configuration names, one by one or by the folder that they lie in. */
#ifndef AGENT_FILES_H
#define AGENT_FILES_H

#include <stdbool.h>

#include "complaint.h"
#include "settings.h"

#define FILES_CERTIFICATES ".pem.crt.cer"
#define FILES_CRLS ".pem.crl.der"

/*
 * Calls take() with the file, or, if the setting names a folder, with each file in it whose name ends as one of the endings
 * says (NULL: each that is not hidden), in the order of their names, until it returns false. Complains about what can't be read.
 */
void files_each(const struct setting *setting, const char *endings, bool (*take)(void *argument, const char *file),
		void *argument, struct complaints *complaints);

#endif
