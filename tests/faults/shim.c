/* Lets the n-th change below a folder fail, whoever makes it: Python, Rust, C++ or SQLite.

   Loaded with LD_PRELOAD it stands before the C library. Not seen are writes through mapped memory, system calls made
   without the C library, and the moments at which stdio empties its buffers by itself (fwrite, fflush and fclose are).

   cc -shared -fPIC -O2 -o shim.so shim.c -ldl */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define EXPORTED __attribute__((visibility("default")))
#define NEXT(name) \
    static __typeof__(name) *next; \
    if (!next) next = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);

enum { OFF, COUNT, FULL, BROKEN, SHORT };  /* FULL: from the n-th on; BROKEN: the n-th; SHORT: half, then FULL once */
enum { DATA, CREATION, OTHER };

static char folder[PATH_MAX];
static size_t folder_length;
static int mode = OFF;
static long nth;
static atomic_long seen, seen_data;
static atomic_int tripped;  /* 1: the n-th has come; SHORT: 2 once the one after it has failed */
static char failed[PATH_MAX + 64];

EXPORTED void fault_arm(const char *below, int how, long number) {
    mode = OFF;
    folder_length = strlen(below);
    memcpy(folder, below, folder_length + 1);
    atomic_store(&seen, 0);
    atomic_store(&seen_data, 0);
    atomic_store(&tripped, 0);
    failed[0] = 0;
    nth = number;
    mode = how;
}

EXPORTED long fault_disarm(void) {
    mode = OFF;
    return atomic_load(&seen);
}

EXPORTED long fault_data(void) { return atomic_load(&seen_data); }

EXPORTED const char *fault_what(void) { return failed; }

static int below_folder(const char *path) {
    return !strncmp(path, folder, folder_length) && (path[folder_length] == '/' || !path[folder_length]);
}

static int path_of_descriptor(int descriptor, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return 1;
}

static int path_at(int directory, const char *name, char *path) {
    if (!name) return 0;
    if (name[0] == '/') {
        snprintf(path, PATH_MAX, "%s", name);
        return 1;
    }
    char base[PATH_MAX];
    if (directory == AT_FDCWD ? !getcwd(base, sizeof base) : !path_of_descriptor(directory, base)) return 0;
    return snprintf(path, PATH_MAX, "%.2000s/%.2000s", base, name) > 0;
}

/* 0: go on; above 0: fail with this error; -1: do half of it. */
static int verdict(int kind, const char *call, const char *path) {
    if (!below_folder(path)) return 0;
    if (kind == DATA) atomic_fetch_add(&seen_data, 1);
    if (mode == SHORT && kind != DATA) return 0;
    long number = atomic_fetch_add(&seen, 1) + 1;
    if (mode == COUNT) return 0;
    if (number == nth) {
        snprintf(failed, sizeof failed, "%s %s", call, path + folder_length);
        atomic_store(&tripped, 1);
        return mode == SHORT ? -1 : mode == FULL ? ENOSPC : EIO;
    }
    if (number > nth && mode == FULL && kind != OTHER) return ENOSPC;
    int first = 1;
    if (mode == SHORT && atomic_compare_exchange_strong(&tripped, &first, 2)) return ENOSPC;
    return 0;
}

static int verdict_on_descriptor(int kind, const char *call, int descriptor) {
    char path[PATH_MAX];
    if (mode == OFF) return 0;
    int saved = errno, answer = 0;
    if (path_of_descriptor(descriptor, path)) answer = verdict(kind, call, path);
    errno = answer > 0 ? answer : saved;
    return answer;
}

static int verdict_at(int kind, const char *call, int directory, const char *name) {
    char path[PATH_MAX];
    if (mode == OFF) return 0;
    int saved = errno, answer = 0;
    if (path_at(directory, name, path)) answer = verdict(kind, call, path);
    errno = answer > 0 ? answer : saved;
    return answer;
}

/* data */

EXPORTED ssize_t write(int descriptor, const void *data, size_t size) {
    NEXT(write);
    int answer = verdict_on_descriptor(DATA, "write", descriptor);
    return answer > 0 ? -1 : next(descriptor, data, answer < 0 && size > 1 ? size / 2 : size);
}

#define PWRITE(name, offset_type) \
    EXPORTED ssize_t name(int descriptor, const void *data, size_t size, offset_type offset) { \
        NEXT(name); \
        int answer = verdict_on_descriptor(DATA, #name, descriptor); \
        return answer > 0 ? -1 : next(descriptor, data, answer < 0 && size > 1 ? size / 2 : size, offset); \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

EXPORTED ssize_t writev(int descriptor, const struct iovec *parts, int count) {
    NEXT(writev);
    int answer = verdict_on_descriptor(DATA, "writev", descriptor);
    return answer > 0 ? -1 : next(descriptor, parts, answer < 0 && count > 1 ? count / 2 : count);
}

#define PWRITEV(name, offset_type) \
    EXPORTED ssize_t name(int descriptor, const struct iovec *parts, int count, offset_type offset) { \
        NEXT(name); \
        int answer = verdict_on_descriptor(DATA, #name, descriptor); \
        return answer > 0 ? -1 : next(descriptor, parts, answer < 0 && count > 1 ? count / 2 : count, offset); \
    }
PWRITEV(pwritev, off_t)
PWRITEV(pwritev64, off64_t)

#define SENDFILE(name, offset_type) \
    EXPORTED ssize_t name(int out, int in, offset_type *offset, size_t size) { \
        NEXT(name); \
        int answer = verdict_on_descriptor(DATA, #name, out); \
        return answer > 0 ? -1 : next(out, in, offset, answer < 0 && size > 1 ? size / 2 : size); \
    }
SENDFILE(sendfile, off_t)
SENDFILE(sendfile64, off64_t)

EXPORTED ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t size, unsigned flags) {
    NEXT(copy_file_range);
    int answer = verdict_on_descriptor(DATA, "copy_file_range", out);
    return answer > 0 ? -1 : next(in, from, out, to, answer < 0 && size > 1 ? size / 2 : size, flags);
}

EXPORTED size_t fwrite(const void *data, size_t size, size_t count, FILE *file) {
    NEXT(fwrite);
    int answer = mode == OFF ? 0 : verdict_on_descriptor(DATA, "fwrite", fileno(file));
    if (!answer) return next(data, size, count, file);
    size_t half = answer < 0 ? next(data, size, count / 2, file) : 0;
    file->_flags |= 0x20;  /* what ferror looks at */
    errno = answer > 0 ? answer : ENOSPC;
    return half;
}

EXPORTED int fflush(FILE *file) {
    NEXT(fflush);
    int answer = mode == OFF || !file || !__fpending(file) ? 0 : verdict_on_descriptor(DATA, "fflush", fileno(file));
    return answer > 0 ? EOF : next(file);
}

EXPORTED int fclose(FILE *file) {
    NEXT(fclose);
    int answer = mode == OFF || !__fpending(file) ? 0 : verdict_on_descriptor(DATA, "fclose", fileno(file));
    if (answer <= 0) return next(file);
    int was = mode, full;
    mode = OFF;
    full = open("/dev/full", O_WRONLY);  /* what is still in the buffer is lost, as it would be */
    dup2(full, fileno(file));
    close(full);
    next(file);
    mode = was;
    errno = answer;
    return EOF;
}

/* new names */

#define OPENED(flags) (((flags) & O_ACCMODE) != O_RDONLY)
#define PERMISSIONS(flags) \
    mode_t permissions = 0; \
    if ((flags) & (O_CREAT | __O_TMPFILE)) { \
        va_list rest; \
        va_start(rest, flags); \
        permissions = va_arg(rest, mode_t); \
        va_end(rest); \
    }

#define OPEN(name) \
    EXPORTED int name(const char *path, int flags, ...) { \
        NEXT(name); \
        PERMISSIONS(flags) \
        if (OPENED(flags) && verdict_at(CREATION, #name, AT_FDCWD, path) > 0) return -1; \
        return next(path, flags, permissions); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
    EXPORTED int name(int directory, const char *path, int flags, ...) { \
        NEXT(name); \
        PERMISSIONS(flags) \
        if (OPENED(flags) && verdict_at(CREATION, #name, directory, path) > 0) return -1; \
        return next(directory, path, flags, permissions); \
    }
OPENAT(openat)
OPENAT(openat64)

#define OPEN_2(name) \
    EXPORTED int name(const char *path, int flags) { \
        NEXT(name); \
        if (OPENED(flags) && verdict_at(CREATION, #name, AT_FDCWD, path) > 0) return -1; \
        return next(path, flags); \
    }
OPEN_2(__open_2)
OPEN_2(__open64_2)

#define FOPEN(name) \
    EXPORTED FILE *name(const char *path, const char *how) { \
        NEXT(name); \
        if (strpbrk(how, "wa+") && verdict_at(CREATION, #name, AT_FDCWD, path) > 0) return NULL; \
        return next(path, how); \
    }
FOPEN(fopen)
FOPEN(fopen64)

EXPORTED int mkdir(const char *path, mode_t permissions) {
    NEXT(mkdir);
    return verdict_at(CREATION, "mkdir", AT_FDCWD, path) > 0 ? -1 : next(path, permissions);
}

EXPORTED int mkdirat(int directory, const char *path, mode_t permissions) {
    NEXT(mkdirat);
    return verdict_at(CREATION, "mkdirat", directory, path) > 0 ? -1 : next(directory, path, permissions);
}

EXPORTED int link(const char *from, const char *to) {
    NEXT(link);
    return verdict_at(CREATION, "link", AT_FDCWD, to) > 0 ? -1 : next(from, to);
}

EXPORTED int linkat(int old, const char *from, int directory, const char *to, int flags) {
    NEXT(linkat);
    return verdict_at(CREATION, "linkat", directory, to) > 0 ? -1 : next(old, from, directory, to, flags);
}

/* what a full disk still does */

EXPORTED int rename(const char *from, const char *to) {
    NEXT(rename);
    return verdict_at(OTHER, "rename", AT_FDCWD, to) > 0 ? -1 : next(from, to);
}

EXPORTED int renameat(int old, const char *from, int directory, const char *to) {
    NEXT(renameat);
    return verdict_at(OTHER, "renameat", directory, to) > 0 ? -1 : next(old, from, directory, to);
}

EXPORTED int renameat2(int old, const char *from, int directory, const char *to, unsigned flags) {
    NEXT(renameat2);
    return verdict_at(OTHER, "renameat2", directory, to) > 0 ? -1 : next(old, from, directory, to, flags);
}

#define FTRUNCATE(name, offset_type) \
    EXPORTED int name(int descriptor, offset_type size) { \
        NEXT(name); \
        return verdict_on_descriptor(OTHER, #name, descriptor) > 0 ? -1 : next(descriptor, size); \
    }
FTRUNCATE(ftruncate, off_t)
FTRUNCATE(ftruncate64, off64_t)

EXPORTED int fsync(int descriptor) {
    NEXT(fsync);
    return verdict_on_descriptor(OTHER, "fsync", descriptor) > 0 ? -1 : next(descriptor);
}

EXPORTED int fdatasync(int descriptor) {
    NEXT(fdatasync);
    return verdict_on_descriptor(OTHER, "fdatasync", descriptor) > 0 ? -1 : next(descriptor);
}
