/* Case folding: Unicode's simple one (C + S of CaseFolding.txt 14.0.0), one code point to one. `ß` is not `ss` (but the
 * capital U+1E9E is `ß`), `İ` is only itself, nothing is normalised. The table is our own, so that SQLite and every
 * version of MongoDB find the same. */
#ifndef MP_MODEL_FOLD_H
#define MP_MODEL_FOLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MP_FOLD_VARIANTS_MAX = 4 };

/* What the code point folds to; itself if to nothing. */
uint32_t mp_fold(uint32_t code);
/* All code points that fold to the same as this one, itself among them, rising; how many (1 to MP_FOLD_VARIANTS_MAX). For
 * the classes of a regular expression. */
size_t mp_fold_variants(uint32_t code, uint32_t out[MP_FOLD_VARIANTS_MAX]);

/* Folds a text. `out` needs MP_FOLD_ROOM(len) bytes; returns how many were written. */
#define MP_FOLD_ROOM(len) ((len) + (len) / 2)
size_t mp_fold_text(char *out, const char *text, size_t len);
/* Whether `term`, which is folded already, occurs in what `text` folds to; time is linear, no memory is taken. Bytes of
 * `text` that are not UTF-8 are only themselves. */
#define MP_FOLD_TERM_MAX 384
bool mp_fold_has(const char *text, size_t len, const char *term, size_t term_len); /* term_len <= MP_FOLD_TERM_MAX */

/* The code point at text[*at], which is then past it; *at < len. A byte that is not UTF-8 is 0xDC00 + the byte. */
uint32_t mp_fold_next(const char *text, size_t len, size_t *at);
/* Writes a code point as mp_fold_next reads them; 1 to 4 bytes, returned. */
size_t mp_fold_put(char *out, uint32_t code);
/* White_Space of Unicode 14.0.0: where a search is split into terms. */
bool mp_fold_is_space(uint32_t code);

#endif
