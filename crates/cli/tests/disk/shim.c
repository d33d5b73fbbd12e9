// What stands between the program and the disk in the tests of durable runs: it takes down every call that changes
// something below one directory, and at one of them it kills the process or makes the call fail.
//
// DISK_ROOT    the directory
// DISK_RECORD  where the calls are written down: call, inode, offset, length, path, second path; then the data
// DISK_CALL    only calls that this text names count ("" is every call but a read)
// DISK_FILE    only files with this text in their path below the directory count
// DISK_AT      the call of those, from 1, at which something happens
// DISK_DO      what: kill-before, kill-after, kill-half, short, or the number of an error
// DISK_ON      if set, all calls after that one fail alike, as on a disk that stays full
//
// One call is made and taken down at a time, so that the record is in the order of the calls.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static const char *root, *calls, *files, *action;
static size_t root_length;
static long at, seen;
static int record = -1, on;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

static const char *set(const char *name) {
    const char *value = getenv(name);
    return value ? value : "";
}

__attribute__((constructor)) static void begin(void) {
    root = set("DISK_ROOT"), root_length = strlen(root);
    calls = set("DISK_CALL"), files = set("DISK_FILE"), action = set("DISK_DO");
    at = atol(set("DISK_AT")), on = *set("DISK_ON") != 0;
    record = syscall(SYS_openat, AT_FDCWD, set("DISK_RECORD"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

static int is_below(const char *path) {
    return root_length && !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

// The path of an open file; 0: it is not below the directory.
static int path_of(int fd, char *path) {
    char link[64];
    if (!root_length) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    path[length > 0 ? length : 0] = 0;
    return is_below(path);
}

static int whole_path(int dir, const char *name, char *path) {
    path[0] = 0;
    if (*name != '/') {
        if (dir == AT_FDCWD ? !getcwd(path, PATH_MAX - 1) : !path_of(dir, path)) return 0;
        strncat(path, "/", PATH_MAX - 1 - strlen(path));
    }
    strncat(path, name, PATH_MAX - 1 - strlen(path));
    return is_below(path);
}

static unsigned long inode_of(int dir, const char *name, int flags) {
    struct stat found;
    return fstatat(dir, name, &found, flags | AT_SYMLINK_NOFOLLOW) ? 0 : found.st_ino;
}

static void put(const void *data, size_t length) {
    for (const char *rest = data; length;) {
        ssize_t count = syscall(SYS_write, record, rest, length);
        if (count <= 0) return;
        rest += count, length -= count;
    }
}

static void note(const char *call, unsigned long inode, long long offset, const void *data, size_t length,
                 const char *path, const char *to) {
    char line[2 * PATH_MAX + 128];
    int before = errno;
    if (record < 0) return;
    put(line, snprintf(line, sizeof line, "%s\t%lu\t%lld\t%zu\t%s\t%s\n", call, inode, offset, length, path, to));
    put(data, length);
    errno = before;
}

// What happens at this call. `FAIL`: it has failed, errno is set and the turn is over.
enum verdict { GO, AFTER, HALF, SHORT, FAIL };

static enum verdict take_turn(const char *call, const char *path, const char *to) {
    pthread_mutex_lock(&turn);
    if (!at || (*calls && !strstr(calls, call)) || !strstr(path + root_length, files)) return GO;
    seen++;
    if (seen < at || (seen > at && !on)) return GO;
    if (!strcmp(action, "kill-before")) die();
    if (!strcmp(action, "kill-after")) return AFTER;
    if (!strcmp(action, "kill-half")) return strcmp(call, "write") ? AFTER : HALF;
    if (!strcmp(action, "short")) return SHORT;
    note("fault", 0, 0, call, strlen(call), path, to);
    pthread_mutex_unlock(&turn);
    errno = atoi(action);
    return FAIL;
}

static long end_turn(enum verdict verdict, long result) {
    if (verdict == AFTER || verdict == HALF) die();
    pthread_mutex_unlock(&turn);
    return result;
}

// --- files ---------------------------------------------------------------------------------------------------

static int open_at(int dir, const char *name, int flags, mode_t mode) {
    char path[PATH_MAX];
    if (!whole_path(dir, name, path)) return syscall(SYS_openat, dir, name, flags, mode);
    int there = inode_of(dir, name, 0) != 0;
    const char *call = there ? (flags & O_TRUNC ? "truncate" : "open") : (flags & O_CREAT ? "create" : "open");
    enum verdict verdict = take_turn(call, path, "");
    if (verdict == FAIL) return -1;
    int fd = syscall(SYS_openat, dir, name, flags, mode);
    if (fd >= 0) note(call, inode_of(fd, "", AT_EMPTY_PATH), 0, 0, 0, path, "");
    return end_turn(verdict, fd);
}

#define OPEN(dir)                                     \
    va_list rest;                                     \
    va_start(rest, flags);                            \
    mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0; \
    va_end(rest);                                     \
    return open_at(dir, name, flags, mode)

int open(const char *name, int flags, ...) { OPEN(AT_FDCWD); }
int open64(const char *name, int flags, ...) { OPEN(AT_FDCWD); }
int openat(int dir, const char *name, int flags, ...) { OPEN(dir); }
int openat64(int dir, const char *name, int flags, ...) { OPEN(dir); }

static ssize_t write_at(int fd, const void *data, size_t length, long long offset) {
    char path[PATH_MAX];
    enum verdict verdict = take_turn("write", path_of(fd, path) ? path : "", "");
    if (verdict == FAIL) return -1;
    if (length > 1 && (verdict == HALF || verdict == SHORT)) length /= 2;
    long long start = offset < 0 ? lseek(fd, 0, SEEK_CUR) : offset;
    ssize_t count =
        offset < 0 ? syscall(SYS_write, fd, data, length) : syscall(SYS_pwrite64, fd, data, length, offset);
    if (count >= 0) note("write", inode_of(fd, "", AT_EMPTY_PATH), start, data, count, path, "");
    return end_turn(verdict, count);
}

ssize_t write(int fd, const void *data, size_t length) {
    char path[PATH_MAX];
    return path_of(fd, path) ? write_at(fd, data, length, -1) : syscall(SYS_write, fd, data, length);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
    char path[PATH_MAX];
    return path_of(fd, path) ? write_at(fd, data, length, offset) : syscall(SYS_pwrite64, fd, data, length, offset);
}

// It changes nothing, so it counts only if it is named.
ssize_t pread64(int fd, void *data, size_t length, off64_t offset) {
    char path[PATH_MAX];
    if (!*calls || !path_of(fd, path)) return syscall(SYS_pread64, fd, data, length, offset);
    enum verdict verdict = take_turn("read", path, "");
    if (verdict == FAIL) return -1;
    return end_turn(verdict, syscall(SYS_pread64, fd, data, length, offset));
}

// A write may always be short: of several pieces the first is written.
ssize_t writev(int fd, const struct iovec *pieces, int count) {
    char path[PATH_MAX];
    if (!path_of(fd, path)) return syscall(SYS_writev, fd, pieces, count);
    while (count > 1 && !pieces->iov_len) pieces++, count--;
    return count > 0 ? write_at(fd, pieces->iov_base, pieces->iov_len, -1) : 0;
}

// The system may not know these, and then files are copied with reads and writes.
ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t length, unsigned flags) {
    (void)in, (void)from, (void)out, (void)to, (void)length, (void)flags;
    return errno = ENOSYS, -1;
}
ssize_t sendfile64(int out, int in, off64_t *from, size_t length) {
    (void)in, (void)from, (void)out, (void)length;
    return errno = ENOSYS, -1;
}

int ftruncate64(int fd, off64_t length) {
    char path[PATH_MAX];
    if (!path_of(fd, path)) return syscall(SYS_ftruncate, fd, length);
    enum verdict verdict = take_turn("truncate", path, "");
    if (verdict == FAIL) return -1;
    long result = syscall(SYS_ftruncate, fd, length);
    if (!result) note("truncate", inode_of(fd, "", AT_EMPTY_PATH), length, 0, 0, path, "");
    return end_turn(verdict, result);
}

static int sync_with(long number, const char *call, int fd) {
    char path[PATH_MAX];
    if (!path_of(fd, path)) return syscall(number, fd);
    enum verdict verdict = take_turn(call, path, "");
    if (verdict == FAIL) return -1;
    // Nothing here loses its power: that the program asks for it is enough.
    note(call, inode_of(fd, "", AT_EMPTY_PATH), 0, 0, 0, path, "");
    return end_turn(verdict, 0);
}

int fsync(int fd) { return sync_with(SYS_fsync, "sync", fd); }
int fdatasync(int fd) { return sync_with(SYS_fdatasync, "sync", fd); }
int syncfs(int fd) { return sync_with(SYS_syncfs, "sync-all", fd); }

// --- names ---------------------------------------------------------------------------------------------------

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    char path[PATH_MAX], to_path[PATH_MAX];
    if (!(whole_path(from_dir, from, path) & whole_path(to_dir, to, to_path)))
        return syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
    enum verdict verdict = take_turn("rename", path, to_path);
    if (verdict == FAIL) return -1;
    unsigned long inode = inode_of(from_dir, from, 0);
    long result = syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
    if (!result) note("rename", inode, 0, 0, 0, path, to_path);
    return end_turn(verdict, result);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to) {
    return renameat2(from_dir, from, to_dir, to, 0);
}
int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }

int unlinkat(int dir, const char *name, int flags) {
    char path[PATH_MAX];
    if (!whole_path(dir, name, path)) return syscall(SYS_unlinkat, dir, name, flags);
    enum verdict verdict = take_turn("unlink", path, "");
    if (verdict == FAIL) return -1;
    unsigned long inode = inode_of(dir, name, 0);
    long result = syscall(SYS_unlinkat, dir, name, flags);
    if (!result) note("unlink", inode, 0, 0, 0, path, "");
    return end_turn(verdict, result);
}

int unlink(const char *name) { return unlinkat(AT_FDCWD, name, 0); }
int rmdir(const char *name) { return unlinkat(AT_FDCWD, name, AT_REMOVEDIR); }

int mkdirat(int dir, const char *name, mode_t mode) {
    char path[PATH_MAX];
    if (!whole_path(dir, name, path)) return syscall(SYS_mkdirat, dir, name, mode);
    enum verdict verdict = take_turn("mkdir", path, "");
    if (verdict == FAIL) return -1;
    long result = syscall(SYS_mkdirat, dir, name, mode);
    if (!result) note("mkdir", inode_of(dir, name, 0), 0, 0, 0, path, "");
    return end_turn(verdict, result);
}

int mkdir(const char *name, mode_t mode) { return mkdirat(AT_FDCWD, name, mode); }
