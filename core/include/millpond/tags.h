/* Tags: names of what values depend on. Whatever was cached under a tag is out of reach, in one step and however much it is, as soon
 * as the tag is invalidated (pond_invalidate_tagged) or written (write.h). */
#ifndef MILLPOND_TAGS_H
#define MILLPOND_TAGS_H

#include <millpond/queue.h>

POND_BEGIN_DECLS

typedef struct pond_tags pond_tags; /* a set of tags, compiled once and used many times */

/* n tags of the policy's namespace (NULL: the pond's), 1..512 bytes of UTF-8 without U+0000 each, 16 different ones at most; order and
 * repetition say nothing. `*out` is NULL if n is 0, and NULL is no tags wherever tags are taken. A set never changes, may be used by any
 * thread, and with calls in other namespaces. Errors: POND_EKEY, POND_EOPTION (too many). @threads any */
POND_API int pond_tags_new(pond_tags **out, pond *p, const pond_policy *policy, const char *const *tags,
                           const size_t *lens, size_t n, pond_error **err);
POND_API pond_tags *pond_tags_ref(pond_tags *tags);
POND_API void pond_tags_free(pond_tags *tags);

/* As pond_fetch, pond_lookup and pond_peek, of a value that depends on these tags. A hit is still one round trip. A key goes with one
 * set of tags: a value that was cached under another set (or under none) is a miss here, and is replaced by what is loaded.
 * Beyond what pond_fetch promises: nothing that was loaded before one of the tags was invalidated is served after that has returned. While
 * somebody writes under a tag (write.h), the loader is asked and what it gives is not cached.
 * @threads any; the first two block */
POND_API int pond_fetch_tagged(pond *p, const char *key, size_t len, const pond_policy *policy, const pond_tags *tags,
                               pond_loader loader, void *ctx, pond_value **out, pond_error **err);
POND_API int pond_lookup_tagged(pond *p, const char *key, size_t len, const pond_policy *policy, const pond_tags *tags,
                                pond_value **out, pond_error **err);
POND_API pond_value *pond_peek_tagged(pond *p, const char *key, size_t len, const pond_policy *policy,
                                      const pond_tags *tags);
/* As pond_invalidate, of keys and tags; either may be none. An invalidation is for who wrote past the library: call it after the commit
 * and before anybody is told. pond_write (write.h) also covers a writer that dies in between. */
POND_API int pond_invalidate_tagged(pond *p, const char *const *keys, const size_t *lens, size_t n,
                                    const pond_policy *policy, const pond_tags *tags, pond_error **err);

/* The same for queues, by the rules of queue.h; the tags may be freed as soon as the call has returned. */
POND_API int pond_fetch_tagged_start(pond *p, pond_queue *queue, const char *key, size_t len, const pond_policy *policy,
                                     const pond_tags *tags, uint64_t user, pond_value **now, pond_request **request,
                                     pond_error **err);
POND_API int pond_lookup_tagged_start(pond *p, pond_queue *queue, const char *key, size_t len,
                                      const pond_policy *policy, const pond_tags *tags, uint64_t user, pond_value **now,
                                      pond_request **request, pond_error **err);
POND_API int pond_invalidate_tagged_start(pond *p, pond_queue *queue, const char *const *keys, const size_t *lens,
                                          size_t n, const pond_policy *policy, const pond_tags *tags, uint64_t user,
                                          pond_error **err);

POND_END_DECLS

#endif
