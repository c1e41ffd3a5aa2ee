/* JSON merge patches (RFC 7386): what an update does to a stored document.
 *
 * A member of the patch replaces the document's, null removes it, and an object is merged member by member; new members go to the
 * end. An object whose first member's name begins with $ is a value of Extended JSON, {"$date":...}: it replaces, and is
 * replaced, as a whole. */
#ifndef MP_MODEL_JSON_PATCH_H
#define MP_MODEL_JSON_PATCH_H

#include <stddef.h>
#include <millpond/error.h>
#include "model/document.h"

/* The document with the patch applied, into *out (NUL-terminated, the caller frees it). `patch` is in the normal form of
 * mp_document_pack; `document` was stored, perhaps by somebody else: what the patch does not touch stays as it is spelled. POND_ESTORE,
 * not retriable, if it is not a JSON object. */
int mp_json_patch(const mp_document_name *name, const char *document, size_t len, const char *patch, size_t patch_len,
                  char **out, size_t *out_len, pond_error **err);

#endif
