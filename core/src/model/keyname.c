#include "model/keyname.h"

#include <string.h>

size_t mp_keyname(char *out, mp_part part, const mp_key *key) {
    memcpy(out, "mp:?:{", 6);
    out[3] = (char)part;
    memcpy(out + 6, key->name, key->len);
    out[6 + key->len] = '}';
    out[7 + key->len] = 0;
    return 7 + (size_t)key->len;
}
