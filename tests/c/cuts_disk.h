/* A disk that remembers in which order it was written: SQLite's default VFS, wrapped. What it did to the files of one folder is kept as a list, out
 * of which the files are made again as they were at any moment: for who died there (all that was written), and behind a power cut (what was
 * synced, and of the rest any part, torn where it is). What only fdatasync() tells, of the journal's log, is heard as well. */
#ifndef CUTS_DISK_H
#define CUTS_DISK_H

#include <pthread.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>
#include <fcntl.h>

#include "support/support.h"

static const char *const disk_files[] = {"shop.db",        "shop.db-wal",        "shop.db-journal",
                                         "shop.db.behind", "shop.db.behind-wal", "shop.db.behind-journal"};
enum { DISK_FILES = 6, DISK_LOG = 4 /* the journal's log */, SECTOR = 512 };

typedef enum disk_kind { DISK_WRITE, DISK_SIZE, DISK_SYNC, DISK_GONE, DISK_MARK } disk_kind;

typedef struct disk_event {
    disk_kind kind;
    int file; /* MARK: a number of the caller's */
    int64_t at;
    size_t len;
    char *bytes;
} disk_event;

static struct {
    pthread_mutex_t lock;
    bool on;
    bool deaf; /* to fdatasync: a control */
    char folder[SHOP_FOLDER];
    disk_event *events;
    size_t n, room;
} disk = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int disk_file_of(const char *path) {
    size_t len = strlen(disk.folder);
    if (!path || !len || strncmp(path, disk.folder, len) != 0 || path[len] != '/') return -1;
    for (int i = 0; i < DISK_FILES; i++)
        if (strcmp(path + len + 1, disk_files[i]) == 0) return i;
    return -1;
}

static void disk_tell(disk_kind kind, int file, int64_t at, const void *bytes, size_t len) {
    pthread_mutex_lock(&disk.lock);
    if (disk.on && file >= 0) {
        if (disk.n == disk.room) {
            disk.room = disk.room ? disk.room * 2 : 1024;
            disk.events = realloc(disk.events, disk.room * sizeof *disk.events);
        }
        disk_event *e = &disk.events[disk.n++];
        *e = (disk_event){.kind = kind, .file = file, .at = at, .len = len};
        if (bytes) e->bytes = memcpy(malloc(len + 1), bytes, len);
    }
    pthread_mutex_unlock(&disk.lock);
}

/* ---- what SQLite and the library call ---- */

typedef struct disk_handle {
    sqlite3_file base;
    sqlite3_io_methods methods;
    int file;
    sqlite3_file *real; /* right behind */
} disk_handle;

static sqlite3_vfs *disk_real;

#define REAL(f) (((disk_handle *)(f))->real)

static int disk_close(sqlite3_file *f) { return REAL(f)->pMethods->xClose(REAL(f)); }
static int disk_read(sqlite3_file *f, void *to, int n, sqlite3_int64 at) {
    return REAL(f)->pMethods->xRead(REAL(f), to, n, at);
}
static int disk_write(sqlite3_file *f, const void *from, int n, sqlite3_int64 at) {
    disk_tell(DISK_WRITE, ((disk_handle *)f)->file, at, from, (size_t)n);
    return REAL(f)->pMethods->xWrite(REAL(f), from, n, at);
}
static int disk_truncate(sqlite3_file *f, sqlite3_int64 size) {
    disk_tell(DISK_SIZE, ((disk_handle *)f)->file, size, NULL, 0);
    return REAL(f)->pMethods->xTruncate(REAL(f), size);
}
static int disk_sync(sqlite3_file *f, int flags) {
    (void)flags;
    disk_tell(DISK_SYNC, ((disk_handle *)f)->file, 0, NULL, 0);
    return SQLITE_OK; /* it is not this disk's power that is cut */
}
static int disk_size(sqlite3_file *f, sqlite3_int64 *out) { return REAL(f)->pMethods->xFileSize(REAL(f), out); }
static int disk_lock(sqlite3_file *f, int how) { return REAL(f)->pMethods->xLock(REAL(f), how); }
static int disk_unlock(sqlite3_file *f, int how) { return REAL(f)->pMethods->xUnlock(REAL(f), how); }
static int disk_reserved(sqlite3_file *f, int *out) { return REAL(f)->pMethods->xCheckReservedLock(REAL(f), out); }
static int disk_control(sqlite3_file *f, int op, void *arg) {
    return REAL(f)->pMethods->xFileControl(REAL(f), op, arg);
}
static int disk_sector(sqlite3_file *f) { return REAL(f)->pMethods->xSectorSize(REAL(f)); }
static int disk_traits(sqlite3_file *f) { return REAL(f)->pMethods->xDeviceCharacteristics(REAL(f)); }
static int disk_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **out) {
    return REAL(f)->pMethods->xShmMap(REAL(f), page, size, extend, out);
}
static int disk_shm_lock(sqlite3_file *f, int at, int n, int flags) {
    return REAL(f)->pMethods->xShmLock(REAL(f), at, n, flags);
}
static void disk_shm_barrier(sqlite3_file *f) { REAL(f)->pMethods->xShmBarrier(REAL(f)); }
static int disk_shm_unmap(sqlite3_file *f, int gone) { return REAL(f)->pMethods->xShmUnmap(REAL(f), gone); }

static int disk_open(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *f, int flags, int *out) {
    static const sqlite3_io_methods methods = {
        2,           disk_close,   disk_read,     disk_write,       disk_truncate,  disk_sync,
        disk_size,   disk_lock,    disk_unlock,   disk_reserved,    disk_control,   disk_sector,
        disk_traits, disk_shm_map, disk_shm_lock, disk_shm_barrier, disk_shm_unmap, NULL,
        NULL};
    disk_handle *h = (disk_handle *)f;
    (void)vfs;
    h->real = (sqlite3_file *)(h + 1);
    h->file = disk_file_of(name);
    int rc = disk_real->xOpen(disk_real, name, h->real, flags, out);
    f->pMethods = h->real->pMethods ? &methods : NULL;
    return rc;
}

static int disk_delete(sqlite3_vfs *vfs, const char *name, int sync) {
    (void)vfs;
    disk_tell(DISK_GONE, disk_file_of(name), 0, NULL, 0);
    return disk_real->xDelete(disk_real, name, sync);
}

/* In the place of libc's: the journal waits for its log by itself. */
int fdatasync(int fd) {
    char link[32], path[256];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    path[len > 0 ? len : 0] = 0;
    if (!disk.deaf) disk_tell(DISK_SYNC, disk_file_of(path), 0, NULL, 0);
    return 0;
}

/* That a folder has a file is taken for true at once. */
int fsync(int fd) {
    (void)fd;
    return 0;
}

static void disk_install(void) {
    static sqlite3_vfs vfs;
    disk_real = sqlite3_vfs_find(NULL);
    vfs = *disk_real;
    vfs.zName = "cuts";
    vfs.szOsFile = (int)sizeof(disk_handle) + disk_real->szOsFile;
    vfs.xOpen = disk_open;
    vfs.xDelete = disk_delete;
    vfs.pNext = NULL;
    assert_int_equal(sqlite3_vfs_register(&vfs, 1), SQLITE_OK);
}

static void disk_begin(const char *folder) {
    pthread_mutex_lock(&disk.lock);
    snprintf(disk.folder, sizeof disk.folder, "%s", folder);
    disk.on = true;
    pthread_mutex_unlock(&disk.lock);
}

static void disk_end(void) {
    pthread_mutex_lock(&disk.lock);
    disk.on = false;
    pthread_mutex_unlock(&disk.lock);
}

static void disk_forget(void) {
    for (size_t i = 0; i < disk.n; i++) free(disk.events[i].bytes);
    free(disk.events);
    disk.events = NULL;
    disk.n = disk.room = 0;
}

/* ---- the files again ---- */

typedef struct disk_image {
    char *bytes; /* NULL: there is no such file */
    size_t len, room;
} disk_image;

static void image_size(disk_image *i, size_t len) {
    if (len > i->room || !i->bytes) {
        i->room = len * 2 + SECTOR;
        i->bytes = realloc(i->bytes, i->room);
    }
    if (len > i->len) memset(i->bytes + i->len, 0, len - i->len);
    i->len = len;
}

static void image_apply(disk_image *i, const disk_event *e, size_t len) {
    if (e->kind == DISK_WRITE) {
        if ((size_t)e->at + len > i->len || !i->bytes) image_size(i, (size_t)e->at + len);
        memcpy(i->bytes + e->at, e->bytes, len);
    } else if (e->kind == DISK_SIZE) {
        image_size(i, (size_t)e->at);
    } else if (e->kind == DISK_GONE) {
        free(i->bytes);
        *i = (disk_image){0};
    }
}

static void image_copy(disk_image *to, const disk_image *from) {
    free(to->bytes);
    *to = (disk_image){.len = from->len, .room = from->len + 1};
    if (from->bytes) to->bytes = memcpy(malloc(to->room), from->bytes, from->len);
}

static void images_free(disk_image of[DISK_FILES]) {
    for (int i = 0; i < DISK_FILES; i++) {
        free(of[i].bytes);
        of[i] = (disk_image){0};
    }
}

static void disk_path(char path[128], const char *folder, int file) {
    snprintf(path, 128, "%s/%s", folder, disk_files[file]);
}

static void images_read(disk_image of[DISK_FILES], const char *folder) {
    for (int i = 0; i < DISK_FILES; i++) {
        char path[128];
        struct stat st;
        disk_path(path, folder, i);
        of[i] = (disk_image){0};
        int fd = open(path, O_RDONLY);
        if (fd < 0) continue;
        assert_int_equal(fstat(fd, &st), 0);
        image_size(&of[i], (size_t)st.st_size);
        assert_int_equal(read(fd, of[i].bytes, of[i].len), st.st_size);
        close(fd);
    }
}

static void images_write(const disk_image of[DISK_FILES], const char *folder) {
    for (int i = 0; i < DISK_FILES; i++) {
        char path[128];
        disk_path(path, folder, i);
        unlink(path);
        if (!of[i].bytes) continue;
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        assert_int_equal(write(fd, of[i].bytes, of[i].len), (ssize_t)of[i].len);
        close(fd);
    }
}

/* `at` is the base, and gets what the first `n` events have made of it where nothing is lost. */
static void disk_killed(disk_image at[DISK_FILES], size_t from, size_t n) {
    for (size_t i = from; i < n; i++)
        if (disk.events[i].kind != DISK_MARK)
            image_apply(&at[disk.events[i].file], &disk.events[i], disk.events[i].len);
}

/* The same of what was synced, file by file; and of what was not, some: none, all, every other, the first ones; torn, now and then. */
static void disk_cut(disk_image at[DISK_FILES], size_t n) {
    size_t synced[DISK_FILES] = {0};
    uint32_t keep = dice(5) * 25, torn = dice(3) ? 0 : 25, first = dice(2) ? dice((uint32_t)n + 1) : 0;
    for (size_t i = 0; i < n; i++)
        if (disk.events[i].kind == DISK_SYNC || disk.events[i].kind == DISK_GONE) synced[disk.events[i].file] = i + 1;
    for (size_t i = 0; i < n; i++) {
        const disk_event *e = &disk.events[i];
        if (e->kind == DISK_MARK) continue;
        size_t len = e->len;
        if (i >= synced[e->file]) {
            if (i >= first && dice(100) >= keep) continue;
            if (dice(100) < torn && len > SECTOR) len = SECTOR * dice((uint32_t)(len / SECTOR));
        }
        image_apply(&at[e->file], e, len);
    }
}

#endif
