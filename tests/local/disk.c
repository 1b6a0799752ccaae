/* Loaded before the C library: notes in VITRO_DISK_LOG what a process writes below VITRO_DISK_ROOT, what it makes durable, and what it
 * prints to stderr, in the order of the calls. test_power_cut.py reads it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static int note_fd = -1;
static char root[PATH_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void begin(void) {
    const char *log = getenv("VITRO_DISK_LOG"), *below = getenv("VITRO_DISK_ROOT");
    if (!log || !below || !realpath(below, root)) return;
    note_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void note(char op, const char *path, const char *other, uint64_t offset, const void *data, uint64_t length) {
    struct { uint32_t path, other; uint64_t offset, length; } head = {
        (uint32_t)strlen(path), (uint32_t)strlen(other), offset, length };
    struct iovec parts[] = { { &op, 1 }, { &head, sizeof head }, { (void *)path, head.path },
                             { (void *)other, head.other }, { (void *)data, data ? length : 0 } };
    pthread_mutex_lock(&lock);
    syscall(SYS_writev, note_fd, parts, 5);
    pthread_mutex_unlock(&lock);
}

/* The file's name below the root, or nothing if it is elsewhere or gone. */
static const char *below(int fd, char *path) {
    char link[64];
    if (note_fd < 0 || fd == note_fd) return NULL;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0) return NULL;
    path[length] = 0;
    return strncmp(path, root, strlen(root)) ? NULL : path + strlen(root);
}

static const char *named(const char *name, char *path) {
    if (note_fd < 0 || !realpath(name, path)) return NULL;
    return strncmp(path, root, strlen(root)) ? NULL : path + strlen(root);
}

#define REAL(name) static __typeof__(name) *real; if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *data, size_t length) {
    REAL(write);
    char path[PATH_MAX];
    const char *name = below(fd, path);
    off_t at = name ? lseek(fd, 0, SEEK_CUR) : 0;
    ssize_t done = real(fd, data, length);
    if (done > 0 && name) note('W', name, "", (uint64_t)at, data, (uint64_t)done);
    if (done > 0 && fd == 2 && note_fd >= 0) note('P', "", "", 0, data, (uint64_t)done);
    return done;
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t at) {
    REAL(pwrite64);
    char path[PATH_MAX];
    const char *name = below(fd, path);
    ssize_t done = real(fd, data, length, at);
    if (done > 0 && name) note('W', name, "", (uint64_t)at, data, (uint64_t)done);
    return done;
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t at) { return pwrite64(fd, data, length, at); }

int ftruncate64(int fd, off64_t size) {
    REAL(ftruncate64);
    char path[PATH_MAX];
    const char *name = below(fd, path);
    int done = real(fd, size);
    if (!done && name) note('T', name, "", (uint64_t)size, NULL, 0);
    return done;
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

static void synced(int fd) {
    char path[PATH_MAX];
    const char *name = below(fd, path);
    struct stat found;
    if (name && !fstat(fd, &found)) note(S_ISDIR(found.st_mode) ? 'D' : 'S', name, "", 0, NULL, 0);
}

int fsync(int fd) {
    REAL(fsync);
    int done = real(fd);
    if (!done) synced(fd);
    return done;
}

int fdatasync(int fd) {
    REAL(fdatasync);
    int done = real(fd);
    if (!done) synced(fd);
    return done;
}

int rename(const char *from, const char *to) {
    REAL(rename);
    char before[PATH_MAX], after[PATH_MAX];
    const char *name = named(from, before);
    int done = real(from, to);
    if (!done && name) {
        const char *other = named(to, after);
        if (other) note('R', name, other, 0, NULL, 0);
    }
    return done;
}

int unlink(const char *name) {
    REAL(unlink);
    char path[PATH_MAX];
    const char *found = named(name, path);
    int done = real(name);
    if (!done && found) note('U', found, "", 0, NULL, 0);
    return done;
}
