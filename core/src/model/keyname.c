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

size_t mp_keyname_tag_intent(char *out, const mp_key *tag) {
    memcpy(out, "mp:gw:{", 7);
    memcpy(out + 7, tag->name, tag->len);
    memcpy(out + 7 + tag->len, "}", 2);
    return 8 + (size_t)tag->len;
}
