/* Collections: documents by id and pages of queries, cached, from the pond's store. */
#ifndef MILLPOND_COLLECTION_H
#define MILLPOND_COLLECTION_H

#include <millpond/queue.h>

POND_BEGIN_DECLS

typedef struct pond_collection pond_collection;

/* A view of one collection of the store. `options` holds n pairs, as a policy's, and besides the options of scope "collection": what a
 * query may ask for, how long pages are served. The same options give the same keys in every process. It holds a reference to the
 * pond, never changes, and may be used by any thread. Errors: POND_EOPTION (also where there is no store=). @threads any */
POND_API int pond_collection_new(pond_collection **out, pond *p, const char *name, const char *const *options, size_t n,
                                 pond_error **err);
POND_API pond_collection *pond_collection_ref(pond_collection *collection);
POND_API void pond_collection_free(pond_collection *collection);

/* How a query is written: as an HTTP query string ("genre=Drama&rating[gte]=7&sort=-rating&page=2&limit=20"), or as a JSON
 * object, nested or flat, that says the same: what a framework made of a query string, or typed values. */
typedef enum pond_query_form { POND_QUERY_TEXT = 0, POND_QUERY_OBJECT = 1 } pond_query_form;

/* Makes the table and the declared indexes in the store, where they are missing. @threads any, blocks */
POND_API int pond_collection_prepare(pond_collection *collection, pond_error **err);

/* The document, through the cache: POND_VALUE ("id" first) or POND_ABSENT. @threads any, blocks */
POND_API int pond_collection_get(pond_collection *collection, const char *id, size_t len, pond_value **out,
                                 pond_error **err);
/* n answers in the order asked into out[0..n-1], each yours; on error none is set. What the cache does not have is one
 * statement. @threads any, blocks */
POND_API int pond_collection_get_many(pond_collection *collection, const char *const *ids, const size_t *lens, size_t n,
                                      pond_value **out, pond_error **err);
/* A page, through the cache: {"data":[...],"total":n,"page":n,"pages":n,"limit":n}. Errors: POND_EQUERY (pond_error_reason
 * says which rule it broke; nothing was asked of cache or store), POND_ESTORE, and those of a fetch. @threads any, blocks */
POND_API int pond_collection_find(pond_collection *collection, pond_query_form form, const char *query, size_t len,
                                  pond_value **out, pond_error **err);
/* How a query is understood: {"canonical","key","total_key","namespace","index","statement","cached":{...}}.
 * @threads any, blocks */
POND_API int pond_collection_explain(pond_collection *collection, pond_query_form form, const char *query, size_t len,
                                     pond_value **out, pond_error **err);
/* Drops what is cached of these documents (of none, if n is 0), and all pages of the collection. For who wrote past the library. As
 * pond_invalidate. @threads any, blocks */
POND_API int pond_collection_invalidate(pond_collection *collection, const char *const *ids, const size_t *lens,
                                        size_t n, pond_error **err);

/* The same for queues, by the rules of queue.h. With queue NULL get and find give only an answer that needs no wait, by `now`;
 * if there is none it is POND_EMISUSE and nothing was started. get_many ends with POND_EVENT_LIST, prepare and invalidate with
 * POND_EVENT_OK, the others with POND_EVENT_VALUE or POND_EVENT_ABSENT. No LOAD events come: the store loads. */
POND_API int pond_collection_prepare_start(pond_collection *collection, pond_queue *queue, uint64_t user,
                                           pond_error **err);
POND_API int pond_collection_get_start(pond_collection *collection, pond_queue *queue, const char *id, size_t len,
                                       uint64_t user, pond_value **now, pond_request **request, pond_error **err);
POND_API int pond_collection_get_many_start(pond_collection *collection, pond_queue *queue, const char *const *ids,
                                            const size_t *lens, size_t n, uint64_t user, pond_error **err);
POND_API int pond_collection_find_start(pond_collection *collection, pond_queue *queue, pond_query_form form,
                                        const char *query, size_t len, uint64_t user, pond_value **now,
                                        pond_request **request, pond_error **err);
POND_API int pond_collection_explain_start(pond_collection *collection, pond_queue *queue, pond_query_form form,
                                           const char *query, size_t len, uint64_t user, pond_error **err);
POND_API int pond_collection_invalidate_start(pond_collection *collection, pond_queue *queue, const char *const *ids,
                                              const size_t *lens, size_t n, uint64_t user, pond_error **err);

POND_END_DECLS

#endif
