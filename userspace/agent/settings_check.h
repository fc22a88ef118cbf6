/* SPDX-License-Identifier: MIT */
/* Whether settings make sense together. What each of them may be alone, settings.c knows. */
#ifndef AGENT_SETTINGS_CHECK_H
#define AGENT_SETTINGS_CHECK_H

#include "settings.h"

void settings_check(const struct settings *settings, struct complaints *complaints);

#endif
