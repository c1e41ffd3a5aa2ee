/* The shared cases, as tests/spec/to_c.py writes them. */
#ifndef TEST_SPEC_TABLE_H
#define TEST_SPEC_TABLE_H

#include <stddef.h>

enum { SPEC_PARTS = 12 };

/* @NS@ and @STORE@ in a line or part stand for the case's namespace and a database file of its own. */
typedef struct spec_step {
    const char *line;                 /* NULL ends the list */
    const char *must[SPEC_PARTS];     /* the answer holds all of these */
    const char *must_not[SPEC_PARTS]; /* and none of these */
} spec_step;

typedef struct spec_case {
    const char *name; /* NULL ends the table */
    const char *options;
    int memory, redis; /* on which caches */
    int witness;       /* a value put first must be untouched at the end */
    const spec_step *steps;
} spec_case;

extern const spec_case spec_cases[];

#endif
