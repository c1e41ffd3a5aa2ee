#define _GNU_SOURCE
#include "engine/region.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/random.h"

enum {
    PRESENT = 0, /* bytes of the file that are locked: shared, by all who are there, */
    WORKING = 1, /* and by who has mp_region_try_lock */
    HEAD = 64    /* of the segment, with its name */
};

static const char magic[8] = "Millpond";

/* The file. */
typedef struct record {
    char magic[8];
    uint32_t layout, size;
    uint64_t dev, ino; /* of the database */
    int64_t segment;
    uint8_t name[16]; /* random: stands in the segment too */
} record;

typedef enum joined { JOINED, AGAIN, NEVER } joined;

/* Locks of the open file, not of the process: a library must not depend on who else closes it. */
static bool lock_byte(int fd, int byte, short type) {
    struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    while (fcntl(fd, F_OFD_SETLK, &l) != 0)
        if (errno != EINTR) return false;
    return true;
}

bool mp_region_try_lock(const mp_region *r) { return r->fd < 0 || lock_byte(r->fd, WORKING, F_WRLCK); }
void mp_region_unlock(const mp_region *r) {
    if (r->fd >= 0) lock_byte(r->fd, WORKING, F_UNLCK);
}

/* ---- the segment ---- */

static bool attach(mp_region *r, int segment) {
    void *at = shmat(segment, NULL, 0);
    struct shmid_ds is;
    r->base = at != (void *)-1 ? at : NULL;
    if (!r->base) return false;
    r->at = (char *)r->base + HEAD;
    if (shmctl(segment, IPC_STAT, &is) == 0 && is.shm_segsz >= HEAD + r->size) return true;
    shmdt(r->base);
    r->base = NULL;
    return false;
}

/* As much of the world may use it as the database. Marked to be removed at once, which on Linux it is with the last process that
 * has it; until then it can be joined. */
static bool make(mp_region *r, const mp_region_form *form, const struct stat *database, record *say) {
    struct shmid_ds is;
    int segment = shmget(IPC_PRIVATE, HEAD + form->size, IPC_CREAT | 0600);
    if (segment < 0) return false;
    bool made = attach(r, segment);
    if (made && shmctl(segment, IPC_STAT, &is) == 0) {
        is.shm_perm.uid = database->st_uid;
        is.shm_perm.gid = database->st_gid;
        is.shm_perm.mode = database->st_mode & 0666;
        shmctl(segment, IPC_SET, &is);
    }
    shmctl(segment, IPC_RMID, NULL);
    if (!made) return false;
    say->segment = segment;
    mp_random_bytes(say->name, sizeof say->name);
    form->start(r->at);
    memcpy(r->base, say->name, sizeof say->name);
    return true;
}

/* ---- the file ---- */

static bool stands_under(const struct stat *file, const char *path) {
    struct stat there;
    return file->st_nlink > 0 && stat(path, &there) == 0 && there.st_ino == file->st_ino &&
           there.st_dev == file->st_dev;
}

static int open_file(const char *path, const struct stat *database) {
    const int flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    int fd = open(path, flags);
    if (fd >= 0 || errno != ENOENT) return fd;
    fd = open(path, flags | O_CREAT | O_EXCL, 0600);
    if (fd < 0) return fd;
    if (fchown(fd, database->st_uid, database->st_gid) != 0) errno = 0; /* as SQLite does it: root only can */
    if (fchmod(fd, database->st_mode & 0666) != 0) errno = 0;
    return fd;
}

/* The lock is exclusive. What is in the file is a dead process's, or nothing; but another's file is left alone. */
static bool begin(mp_region *r, const mp_region_form *form, const struct stat *database, ssize_t got, record *is) {
    if (got != 0 && (got < (ssize_t)sizeof is->magic || memcmp(is->magic, magic, sizeof magic) != 0)) return false;
    record say = {.layout = form->layout,
                  .size = (uint32_t)form->size,
                  .dev = (uint64_t)database->st_dev,
                  .ino = (uint64_t)database->st_ino};
    memcpy(say.magic, magic, sizeof magic);
    return make(r, form, database, &say) && pwrite(r->fd, &say, sizeof say, 0) == (ssize_t)sizeof say;
}

static bool follow(mp_region *r, const mp_region_form *form, const struct stat *database, ssize_t got, record *is) {
    return got == (ssize_t)sizeof *is && memcmp(is->magic, magic, sizeof magic) == 0 && is->layout == form->layout &&
           is->size == form->size && is->dev == (uint64_t)database->st_dev && is->ino == (uint64_t)database->st_ino &&
           attach(r, (int)is->segment) && memcmp(r->base, is->name, sizeof is->name) == 0;
}

static joined take_part(mp_region *r, const mp_region_form *form, const struct stat *database) {
    struct stat file;
    record is = {.layout = 0};
    if (fstat(r->fd, &file) != 0 || !S_ISREG(file.st_mode)) return NEVER;
    bool first = lock_byte(r->fd, PRESENT, F_WRLCK);
    if (!first && !lock_byte(r->fd, PRESENT, F_RDLCK)) return errno == EAGAIN || errno == EACCES ? AGAIN : NEVER;
    if (fstat(r->fd, &file) != 0 || !stands_under(&file, form->path)) return AGAIN;
    ssize_t got = pread(r->fd, &is, sizeof is, 0);
    if (!(first ? begin : follow)(r, form, database, got, &is)) return NEVER;
    return lock_byte(r->fd, PRESENT, F_RDLCK) ? JOINED : NEVER;
}

static mp_region *region_new(const mp_region_form *form) {
    mp_region *r = calloc(1, sizeof *r);
    if (r) *r = (mp_region){.fd = -1, .size = form->size};
    return r;
}

void mp_region_withdraw(mp_region *r) {
    if (r->fd >= 0) close(r->fd);
    r->fd = -1;
}

static void let_go(mp_region *r) {
    if (r->base && r->own) munmap(r->base, HEAD + r->size);
    else if (r->base) shmdt(r->base);
    r->base = NULL;
    mp_region_withdraw(r);
}

mp_region *mp_region_join(const mp_region_form *form, int wait_ms) {
    const struct timespec pause = {.tv_nsec = 1000000};
    struct stat database;
    mp_region *r = stat(form->database, &database) == 0 ? region_new(form) : NULL;
    joined is = AGAIN;
    while (r && is == AGAIN) {
        r->fd = open_file(form->path, &database);
        is = r->fd >= 0 ? take_part(r, form, &database) : errno == EEXIST || errno == ENOENT ? AGAIN : NEVER;
        if (is == JOINED) return r;
        let_go(r);
        if (wait_ms-- <= 0) break;
        if (is == AGAIN) nanosleep(&pause, NULL);
    }
    free(r);
    return NULL;
}

mp_region *mp_region_alone(const mp_region_form *form) {
    mp_region *r = region_new(form);
    if (!r) return NULL;
    void *at = mmap(NULL, HEAD + form->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) {
        free(r);
        return NULL;
    }
    r->own = true;
    r->base = at;
    r->at = (char *)at + HEAD;
    form->start(r->at);
    return r;
}

bool mp_region_apart(const mp_region *r, const mp_region_form *form) {
    struct stat file;
    return r->fd < 0 || fstat(r->fd, &file) != 0 || !stands_under(&file, form->path);
}

/* The last one: nobody will miss the file. Who opens it just now finds that it has no name any more, and opens it again. */
void mp_region_leave(mp_region *r, const mp_region_form *form) {
    if (r->fd >= 0 && !mp_region_apart(r, form) && lock_byte(r->fd, PRESENT, F_WRLCK)) unlink(form->path);
    let_go(r);
    free(r);
}
