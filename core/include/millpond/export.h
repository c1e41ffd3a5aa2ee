/* What a symbol of the library's ABI is marked with. */
#ifndef MILLPOND_EXPORT_H
#define MILLPOND_EXPORT_H

#if defined(__GNUC__) && !defined(POND_STATIC)
#define POND_API __attribute__((visibility("default")))
#else
#define POND_API
#endif

#ifdef __cplusplus
#define POND_BEGIN_DECLS extern "C" {
#define POND_END_DECLS }
#else
#define POND_BEGIN_DECLS
#define POND_END_DECLS
#endif

#endif
