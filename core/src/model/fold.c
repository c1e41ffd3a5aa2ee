#include "model/fold.h"

#include <assert.h>

static const struct run {
    uint32_t first, last;
    int32_t step, delta;
} runs[] = {
#define FOLD(first, last, step, delta) {first, last, step, delta},
#include "model/fold_table.def"
#undef FOLD
};

enum { RUNS = sizeof runs / sizeof runs[0] };

static bool in_run(const struct run *run, uint32_t code) {
    return code >= run->first && code <= run->last && (code - run->first) % (uint32_t)run->step == 0;
}

uint32_t mp_fold(uint32_t code) {
    if (code < 0x80) return code - 'A' < 26 ? code + 32 : code;
    size_t low = 0, high = RUNS; /* the first run that does not end before `code` */
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (runs[middle].last < code) low = middle + 1;
        else high = middle;
    }
    return low < RUNS && in_run(&runs[low], code) ? code + (uint32_t)runs[low].delta : code;
}

size_t mp_fold_variants(uint32_t code, uint32_t out[MP_FOLD_VARIANTS_MAX]) {
    uint32_t to = mp_fold(code);
    size_t n = 0;
    out[n++] = to;
    /* Every run may hold one that folds to it. 200 of them are quick enough for where this is used: once a search. */
    for (size_t i = 0; i < RUNS; i++) {
        uint32_t from = to - (uint32_t)runs[i].delta;
        if (!in_run(&runs[i], from)) continue;
        assert(n < MP_FOLD_VARIANTS_MAX);
        size_t at = n++;
        for (; at > 0 && out[at - 1] > from; at--) out[at] = out[at - 1];
        out[at] = from;
    }
    return n;
}

bool mp_fold_is_space(uint32_t code) {
    if (code < 0x80) return code == ' ' || (code >= 0x09 && code <= 0x0d);
    return code == 0x85 || code == 0xa0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 ||
           code == 0x2029 || code == 0x202f || code == 0x205f || code == 0x3000;
}

enum { BROKEN = 0xdc00 };

static uint32_t tail(const unsigned char *at, size_t n, uint32_t code) {
    for (size_t i = 1; i < n; i++) {
        if ((at[i] & 0xc0) != 0x80) return UINT32_MAX;
        code = code << 6 | (at[i] & 0x3f);
    }
    return code;
}

uint32_t mp_fold_next(const char *text, size_t len, size_t *at) {
    const unsigned char *bytes = (const unsigned char *)text + *at;
    size_t left = len - *at, n = 1;
    uint32_t code = UINT32_MAX;
    if (bytes[0] < 0x80) {
        *at += 1;
        return bytes[0];
    }
    if (bytes[0] >= 0xc2 && bytes[0] < 0xe0 && left >= 2) code = tail(bytes, n = 2, bytes[0] & 0x1f);
    else if (bytes[0] >= 0xe0 && bytes[0] < 0xf0 && left >= 3) {
        code = tail(bytes, n = 3, bytes[0] & 0x0f);
        if (code < 0x800 || (code >= 0xd800 && code < 0xe000)) code = UINT32_MAX;
    } else if (bytes[0] >= 0xf0 && bytes[0] < 0xf5 && left >= 4) {
        code = tail(bytes, n = 4, bytes[0] & 0x07);
        if (code < 0x10000 || code > 0x10ffff) code = UINT32_MAX;
    }
    if (code == UINT32_MAX) {
        *at += 1;
        return BROKEN + bytes[0];
    }
    *at += n;
    return code;
}

size_t mp_fold_put(char *out, uint32_t code) {
    if (code < 0x80 || (code >= BROKEN && code < BROKEN + 0x100)) {
        out[0] = (char)(code & 0xff);
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xc0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xe0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3f));
        out[2] = (char)(0x80 | (code & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3f));
    out[2] = (char)(0x80 | (code >> 6 & 0x3f));
    out[3] = (char)(0x80 | (code & 0x3f));
    return 4;
}

size_t mp_fold_text(char *out, const char *text, size_t len) {
    size_t n = 0;
    for (size_t at = 0; at < len;) n += mp_fold_put(out + n, mp_fold(mp_fold_next(text, len, &at)));
    return n;
}

/* Knuth, Morris and Pratt over the folded bytes, so that no text makes it slow. Both sides are UTF-8, whose bytes tell
 * first from following ones: a hit on bytes is one on characters. */
bool mp_fold_has(const char *text, size_t len, const char *term, size_t term_len) {
    uint16_t back[MP_FOLD_TERM_MAX]; /* [i]: the longest end of term[0..i] that is also its beginning */
    assert(term_len <= MP_FOLD_TERM_MAX);
    if (term_len == 0) return true;
    back[0] = 0;
    for (size_t i = 1, k = 0; i < term_len; i++) {
        while (k > 0 && term[i] != term[k]) k = back[k - 1];
        if (term[i] == term[k]) k++;
        back[i] = (uint16_t)k;
    }
    for (size_t at = 0, k = 0; at < len;) {
        char bytes[4];
        size_t n = mp_fold_put(bytes, mp_fold(mp_fold_next(text, len, &at)));
        for (size_t i = 0; i < n; i++) {
            while (k > 0 && bytes[i] != term[k]) k = back[k - 1];
            if (bytes[i] == term[k] && ++k == term_len) return true;
        }
    }
    return false;
}
