/* Seeded bugs of the protocol: each is switched in for a run, and must be caught by some row. None of it is in the library:
 * a mutant is an edit of the scripts while they are loaded, or a layer between the patterns and the cache (layer.h). */
#ifndef SIM_MUTANTS_H
#define SIM_MUTANTS_H

#include <stddef.h>
#include "layer.h"
#include "server.h"

typedef struct mutant_edit {
    const char *script, *from, *to; /* `from` stands once in the script */
} mutant_edit;

typedef struct mutant {
    const char *name, *text;
    const char *row; /* where it is looked for first */
    mutant_edit edits[3];
    layer_kind layer;
} mutant;

extern const mutant mutants[];
extern const size_t mutant_count;

/* The edited scripts, in memory that mutant_free gives back. Ends the program if an edit does not fit any more. */
server_scripts *mutant_scripts(const mutant *m);
void mutant_free(server_scripts *scripts);

#endif
