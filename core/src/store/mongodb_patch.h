/* JSON merge patches (RFC 7386) on BSON: as model/json_patch.h has them, and what the patch does not touch keeps its type. */
#ifndef MP_STORE_MONGODB_PATCH_H
#define MP_STORE_MONGODB_PATCH_H

#include <bson/bson.h>

/* Appends the members of `old` with `patch` applied to `to`, but for the document's own _id and _mpv. False: too large, or `old` is
 * damaged. */
bool mp_mongodb_patch(bson_t *to, const bson_t *old, const bson_t *patch);

#endif
