#ifndef TEST_SUPPORT_FORK_CASES_H
#define TEST_SUPPORT_FORK_CASES_H

#include <stdbool.h>

/* fork() with a pond in hand. `shared`: what one process caches another one finds. */
int fork_cases(const char *url, bool shared);

#endif
