/* What a query on SQLite costs, beside the same by hand: bench_find [--json] [DOCUMENTS]
 *
 * The films, repeated, in a database of its own under $TMPDIR. "find" and "count" are the store's two calls for a page and its
 * total. "by hand" is what a programmer would write with json_extract: a statement that gives the documents of the page, and
 * one that counts, both prepared anew each time as sqlite3 modules do behind their cache's back the first time and not again: so here
 * they are prepared once. Times are in microseconds, the best of some runs. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sqlite3.h>

#include "model/document.h"
#include "model/match.h"
#include "store/store.h"
