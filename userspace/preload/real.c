/* SPDX-License-Identifier: MIT */
#include <dlfcn.h>
#include <errno.h>

#include "real.h"

#define POINTER(type, name, parameters, arguments) type(*name) parameters;
static struct {
	REAL_FUNCTIONS(POINTER)
} found;

void real_find(void)
{
	int error = errno;

#define FIND(type, name, parameters, arguments) *(void **)&found.name = dlsym(RTLD_NEXT, #name);
	REAL_FUNCTIONS(FIND)
	errno = error;
}

/* Another library's constructor may come before ours; and an older C library may lack a function. */
#define CALL(type, name, parameters, arguments)                                                                        \
	type real_##name parameters                                                                                    \
	{                                                                                                              \
		if (__builtin_expect(!found.name, 0)) {                                                                \
			real_find();                                                                                   \
			if (!found.name) {                                                                             \
				errno = ENOSYS;                                                                        \
				return (type)-1;                                                                       \
			}                                                                                              \
		}                                                                                                      \
		return found.name arguments;                                                                           \
	}
REAL_FUNCTIONS(CALL)
