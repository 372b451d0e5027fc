/* base: errors, memory, checked arithmetic, strings, counter-based random numbers, log, and files.
 * Every module includes it; it does not know tensors or models. All functions can be called from
 * any thread; objects belong to one thread at a time. */
#ifndef QUERN_BASE_H
#define QUERN_BASE_H

#include "machine.h"

#include <pthread.h>
#include <quern/output.h>
#include <quern/status.h>
#include <stdarg.h>
#include <stdbool.h>

/* ---- errors (error.c) ---- */

/* Fills `err` (NULL is allowed) unless it already has a failure. Returns `code`, for use as `return
 * quern__fail(…)`. `where` NULL keeps the present place. After an allocation of this thread has
 * failed, the code is QUERN_NOMEM instead, because the reported problem can be a consequence. */
int quern__fail(quern_error *err, int code, const char *where, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* The same for a failed allocation of `bytes`. */
int quern__fail_memory(quern_error *err, size_t bytes);
/* Sets the hint of an error that does not have one. */
void quern__hint(quern_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The first statement of a public function. It clears the caller's error, or uses an error of its
 * own when `err` is NULL, so that `err` is not NULL afterwards. Then come pairs of a name and a
 * pointer: the first NULL is QUERN_INVALID, and the function returns `failed`. */
#define QUERN__ENTER(err, failed, ...)          \
    QUERN__ENTER_ANY(err);                      \
    if (quern__missing(err, __VA_ARGS__, NULL)) \
    return failed
#define QUERN__ENTER_ANY(err) \
    quern_error quern__own;   \
    (err) = quern__enter(err, &quern__own)
quern_error *quern__enter(quern_error *given, quern_error *own);
/* Fails with QUERN_INVALID for the first NULL among pairs of a name and a pointer, which NULL ends.
 */
int quern__missing(quern_error *err, ...) __attribute__((sentinel));
/* The result of a public function whose `status` can differ from the code of the error: the error's
 * code. */
static inline int quern__leave(const quern_error *err, int status)
{
    return status < 0 && err->code < 0 ? err->code : status;
}

/* The same after a write to the temporary file of `path`: the error names `path`. */
int quern__leave_file(quern_error *err, const char *path, int status);

/* ---- memory (memory.c) ---- */

/* The allocation functions of the library; they call the allocator hook. They return NULL when
 * memory runs out; 0 bytes give a pointer that can be freed. Memory is aligned to 16 bytes.
 * quern__alloc_aligned aligns to `alignment` (a power of two), and its memory is freed with
 * quern__free_aligned. */
void *quern__alloc(size_t bytes);
void *quern__zalloc(size_t count, size_t size); /* count * size, checked, zeroed */
void *quern__realloc(void *old, size_t bytes);
void quern__free(void *old);
void *quern__alloc_aligned(size_t bytes, size_t alignment);
void *quern__zalloc_aligned(size_t bytes, size_t alignment); /* the same, zeroed */
/* Memory for repeated sequential access: aligned to at least 64 bytes, in huge pages where the
 * system has them, which makes recurrent layers a tenth faster. Freed with quern__free_aligned. */
void *quern__alloc_large(size_t bytes);
void quern__free_aligned(void *old);
/* Returns the whole pages of a part of an own buffer to the system, if it has at least 1 MiB. Its
 * content is lost; the buffer is freed as usual. */
void quern__discard(const void *memory, size_t bytes);
char *quern__strdup(const char *text);
char *quern__strndup(const char *text, size_t length);

/* Statistics for tests and reports: number of allocations so far, number of live blocks. */
typedef struct quern__memory_account {
    size_t allocations, live_blocks;
} quern__memory_account;
quern__memory_account quern__memory(void);
/* Makes the nth allocation from now (1: the next) and all later ones fail; 0 disables it. For
 * tests. */
void quern__memory_fail_at(size_t nth);

/* Whether an allocation of this thread, in any library, has failed since quern__memory_watch or
 * since the public function began. It reads errno: each failure sets ENOMEM, and successful calls
 * do not change errno. */
void quern__memory_watch(void);
bool quern__memory_short(void);

/* Checked arithmetic: false on overflow. */
static inline bool quern__mul(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool quern__add(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

/* ---- strings (strbuf.c) ---- */

/* A growing string. Initialise it with zeros. After a failed allocation, `failed` is true and later
 * calls do nothing. */
typedef struct quern__text {
    char *data;
    size_t length, capacity;
    bool failed;
} quern__text;
/* Makes one line of valid UTF-8: control bytes become blanks, invalid bytes become '?'. */
void quern__one_line(char *text);
void quern__text_add(quern__text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void quern__text_add_bytes(quern__text *t, const char *bytes, size_t n);
/* Appends another text; a failed one makes this one fail. */
void quern__text_append(quern__text *t, const quern__text *from);
void quern__text_free(quern__text *t);

/* Words separated by blanks; a backslash quotes the next byte. The first function returns the bytes
 * of the word at p, the second removes the backslashes in place. */
size_t quern__word_length(const char *p);
void quern__word_plain(char *word);
/* The nearest of `count` names (`stride` bytes apart, each a `const char *`) by edit distance.
 * Returns borrowed; NULL: none is near. */
const char *quern__nearest(const char *name, const void *names, size_t count, size_t stride);
/* Compares names without case and underscores (Conv2D = conv_2d). */
bool quern__same_name(const char *a, const char *b);
/* Parses a finite decimal number or a fraction ("1/255"). Returns false for anything else. */
bool quern__parse_number(const char *text, double *out);

/* ---- numbers as text in the C locale, for any locale of the program (locale.c) ---- */

double quern__strtod(const char *text, char **end);
float quern__strtof(const char *text, char **end);
int quern__vformat(char *out, size_t size, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));
int quern__format(char *out, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- counter-based random numbers (philox.c) ---- */

/* Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): a pure
 * function from a key and a counter to 128 random bits. It has no state, so a checkpoint saves
 * nothing and any thread can compute any part. */
typedef struct quern__random_key {
    uint32_t k[2];
} quern__random_key;
/* The key for a seed, a purpose (QUERN__RANDOM_…) and a stream (a layer, an epoch). The three are
 * hashed. */
quern__random_key quern__random_key_of(uint64_t seed, uint64_t purpose, uint64_t stream);
void quern__random4(quern__random_key key, uint64_t high, uint64_t low, uint32_t out[4]);
/* Uniform in [0, 1) with 53 bits, and standard normal, at the counter (high, low). */
double quern__random_uniform(quern__random_key key, uint64_t high, uint64_t low);
double quern__random_normal(quern__random_key key, uint64_t high, uint64_t low);
/* The image of `i` under a permutation of 0 … n-1: a keyed Feistel network of 8 rounds with cycle
 * walking. */
uint64_t quern__random_permute(quern__random_key key, uint64_t n, uint64_t i);
uint64_t quern__hash64(uint64_t x); /* the finaliser of splitmix64 */

enum {
    QUERN__RANDOM_INIT = 1,
    QUERN__RANDOM_DROPOUT,
    QUERN__RANDOM_SHUFFLE_BLOCKS,
    QUERN__RANDOM_SHUFFLE_WINDOW,
    QUERN__RANDOM_SAMPLING,
    QUERN__RANDOM_NOISE,
    QUERN__RANDOM_AUGMENTATION,
    QUERN__RANDOM_PREPARE
};

/* ---- log (log.c) ---- */
void quern__warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
void quern__note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Seconds of the monotonic clock. */
double quern__now(void);

/* ---- atomic writes (atomic_file.c) ---- */

/* Follows symbolic links to the final path, which need not exist. `out` has 4096 bytes. */
int quern__file_target(const char *path, char *out, quern_error *err);
/* The name of a temporary file for `path`: unpredictable, with that ending. `out` has 4096 bytes.
 * quern__file_create creates it. */
int quern__file_beside(const char *path, const char *ending, char *out, quern_error *err);
/* Creates the temporary file, which must not exist, for reading and writing. Returns a descriptor,
 * or -1 with errno. */
int quern__file_create(const char *beside);
/* Replaces the temporary name in an error by `path`. */
void quern__file_place(quern_error *err, const char *beside, const char *path);
/* Syncs the temporary file and renames it to `path`, or writes its content to a device or pipe.
 * Removes it on failure. */
int quern__file_replace(const char *beside, const char *path, quern_error *err);
/* Checks that the file can be written, as far as this is known before the write. */
int quern__file_check(const char *path, quern_error *err);

/* ---- complete reads and writes at an offset (pread_full.c) ---- */

/* Returns the number of bytes read: less than n at the end of the file (errno is 0) or after an
 * error (errno is set). */
size_t quern__read_at(int fd, void *to, size_t n, int64_t at);
/* Whether all n bytes were written; otherwise errno is set. */
bool quern__write_at(int fd, const void *from, size_t n, int64_t at);

/* ---- the process (process.c) ---- */

size_t quern__peak_bytes(void); /* peak resident bytes (VmHWM); 0: unknown */
/* Memory of the process in bytes; 0: unknown. */
typedef struct quern__process {
    size_t peak;
    size_t files,
        resident_files;     /* mapped files of the program and its libraries; their resident part */
    size_t heap, anonymous; /* bytes in use by malloc; resident bytes without a file */
    size_t address_space, data;
} quern__process;
quern__process quern__process_now(void);
/* The smallest limit on resident memory, from memory cgroups (v1 or v2) and rlimits, and its name;
 * SIZE_MAX: no limit. `resident`: the bytes that the limit counts now. `threads`: the number of
 * threads that are still to be started. */
typedef struct quern__limit {
    size_t bytes;
    const char *name;
} quern__limit;
quern__limit quern__process_limit(const quern__process *now, size_t resident, int threads);
/* Bytes of page cache that the system can use for this process; SIZE_MAX: unknown. */
size_t quern__memory_for_files(void);
extern const char *quern__proc,
    *quern__cgroups; /* paths of /proc and /sys/fs/cgroup; tests set others */

/* ---- threads (thread.c) ---- */

/* A thread of the library has at least this much stack, whatever the limit (ulimit -s) and the C
 * library's default. */
enum { QUERN__LEAST_STACK = 1 << 20 };
/* The stack that a thread of the library gets, in bytes. */
size_t quern__thread_stack(void);
/* As pthread_create, with that stack. */
int quern__thread_start(pthread_t *thread, void *(*body)(void *), void *argument);
/* Bytes that the stack of the calling thread has left; SIZE_MAX: unknown. */
size_t quern__stack_left(void);

/* ---- options structs (options_struct.c) ----
 * An options struct begins with `size_t size`: its size where the caller was compiled, or 0: the
 * layout of version 0.1, which has `first` bytes. QUERN__OPTIONS copies it into `own`, the layout
 * of this library, and sets own.size; NULL gives zeros. A byte that is set beyond the library's
 * layout is an error: it is an option of a newer version. */
int quern__take_options(void *own, size_t own_size, size_t first, const void *given,
                        const char *function, quern_error *err);
#define QUERN__OPTIONS(own, first, given, err) \
    quern__take_options(&(own), sizeof(own), first, given, __func__, err)

#endif
