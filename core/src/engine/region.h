/* Memory that several processes have in common, found by way of a file.
 *
 * The memory itself is a System V segment, not the file: nobody can truncate it under those who use it (of a mapped file that
 * is a SIGBUS), and the kernel frees it with the last of them, however they end. The file says which segment it is, and its
 * locks say who is there: the first to come makes both anew, whatever was left behind; the last to go removes the file. */
#ifndef MP_ENGINE_REGION_H
#define MP_ENGINE_REGION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mp_region {
    struct mp_region *older; /* its owner's */
    void *at;                /* `size` bytes, in lines of 64 */
    size_t size;
    void *base;
    bool own; /* the process's */
    int fd;   /* of the file; -1: none */
} mp_region;

/* What it is to be. `database` is whose: its owner, its mode and its identity. `layout` is that of the memory, so that no other
 * version's is taken for it. */
typedef struct mp_region_form {
    const char *path, *database;
    uint32_t layout;
    size_t size;
    void (*start)(void *at); /* zeroed memory that nobody else has yet */
} mp_region_form;

/* NULL: it cannot be had: no memory, no right to the folder, no segments here, or others are there who cannot be joined (another
 * version, another IPC namespace). `wait_ms`: for others who are just making or removing it. */
mp_region *mp_region_join(const mp_region_form *form, int wait_ms);
/* Of this process alone. NULL without memory. */
mp_region *mp_region_alone(const mp_region_form *form);
/* Not the file's any more, which was removed or replaced; or never was. */
bool mp_region_apart(const mp_region *r, const mp_region_form *form);
void mp_region_leave(mp_region *r, const mp_region_form *form);
/* As if it had left, but the memory stays. In the child of a fork, at once, as the locks are the parent's: does no more than close(). */
void mp_region_withdraw(mp_region *r);

/* Among processes, not among threads of one; ends with the process. @threads any */
bool mp_region_try_lock(const mp_region *r);
void mp_region_unlock(const mp_region *r);

#endif
