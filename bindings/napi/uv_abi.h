/* The dozen functions of libuv that the addon calls. They come from the node executable, and their ABI is libuv 1's, which
 * is frozen; but no npm package carries uv.h, and not every Node installation does. So they are declared here, with the
 * handles opaque: libuv says how large they are. addon.c checks the two numbers at load. */
#ifndef MPN_UV_ABI_H
#define MPN_UV_ABI_H

#include <stddef.h>

typedef struct uv_loop_s uv_loop_t;
typedef struct uv_handle_s uv_handle_t;
typedef struct uv_poll_s uv_poll_t;
typedef struct uv_prepare_s uv_prepare_t;

enum { MPN_UV_POLL = 8, MPN_UV_PREPARE = 9 }; /* uv_handle_type */
enum { MPN_UV_READABLE = 1 };                 /* uv_poll_event */

size_t uv_handle_size(int type);
const char *uv_handle_type_name(int type);
void *uv_handle_get_data(const uv_handle_t *handle);
void uv_handle_set_data(uv_handle_t *handle, void *data);
void uv_ref(uv_handle_t *handle);
void uv_unref(uv_handle_t *handle);
void uv_close(uv_handle_t *handle, void (*closed)(uv_handle_t *handle));
const char *uv_strerror(int error);

int uv_poll_init(uv_loop_t *loop, uv_poll_t *handle, int fd);
int uv_poll_start(uv_poll_t *handle, int events, void (*ready)(uv_poll_t *handle, int status, int events));
int uv_prepare_init(uv_loop_t *loop, uv_prepare_t *handle);
int uv_prepare_start(uv_prepare_t *handle, void (*run)(uv_prepare_t *handle));
int uv_prepare_stop(uv_prepare_t *handle);

#endif
