/* base: what every room stands on. Errors, the one door for memory, checked sizes, strings, random numbers
 * with addresses, and the log. Nothing here knows of tensors or models. */
#ifndef QUERN_BASE_H
#define QUERN_BASE_H

#include "machine.h"

#include <pthread.h>
#include <quern/output.h>
#include <quern/status.h>
#include <stdarg.h>
#include <stdbool.h>

/* ---- errors (error.c) ---- */

/* Fills `err` (NULL is fine) unless it already holds a failure; returns `code`, so that `return quern__fail(…)` reads well.
 * `where` may be NULL; then it keeps what it has. Where memory has run out, what followed from it (something is missing, a file
 * cannot be read) is told as QUERN_NOMEM, and that is returned. */
int quern__fail(quern_error *err, int code, const char *where, const char *format, ...) __attribute__((format(printf, 4, 5)));
/* The same for an allocation of `bytes` that failed. */
int quern__fail_memory(quern_error *err, size_t bytes);
/* Sets the hint of an error that has none yet. */
void quern__hint(quern_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What a public function begins with. The error that its caller may reuse is cleared; without one it has an error of its own, so
 * that `err` is never NULL in it, and its code is there to be returned. Then pairs of a name and a pointer: the first that is NULL
 * is QUERN_INVALID, and the function returns `failed`. Inside, the first failure wins. */
#define QUERN__ENTER(err, failed, ...)          \
    QUERN__ENTER_ANY(err);                      \
    if (quern__missing(err, __VA_ARGS__, NULL)) \
    return failed
#define QUERN__ENTER_ANY(err) \
    quern_error quern__own;   \
    (err) = quern__enter(err, &quern__own)
quern_error *quern__enter(quern_error *given, quern_error *own);
/* QUERN_INVALID, with an error that names it, for the first NULL among pairs of a name and a pointer; NULL ends them. */
int quern__missing(quern_error *err, ...) __attribute__((sentinel));
/* What a public function returns where `status` may be another than the error's: the error's code. */
static inline int quern__leave(const quern_error *err, int status) { return status < 0 && err->code < 0 ? err->code : status; }

/* The same where a file was written beside `path`: the error names `path`. */
int quern__leave_file(quern_error *err, const char *path, int status);

/* ---- memory (memory.c) ---- */

/* All memory of the library comes through here. Returns NULL when there is none; 0 bytes gives a pointer that may be freed.
 * Memory is aligned to 16 bytes; quern__alloc_aligned aligns to `alignment` (a power of two) and is freed with
 * quern__free_aligned. */
void *quern__alloc(size_t bytes);
void *quern__zalloc(size_t count, size_t size); /* checked product, zeroed */
void *quern__realloc(void *old, size_t bytes);
void quern__free(void *old);
void *quern__alloc_aligned(size_t bytes, size_t alignment);
/* Memory that is gone through again and again, aligned to 64 bytes at least and in large pages where the system has them: steps of
 * sequences are a tenth faster. Freed with quern__free_aligned. */
void *quern__alloc_large(size_t bytes);
void quern__free_aligned(void *old);
char *quern__strdup(const char *text);
char *quern__strndup(const char *text, size_t length);

/* Accounts, for tests and reports: calls that allocated so far, and blocks alive now. */
typedef struct quern__memory_account {
    size_t allocations, live_blocks;
} quern__memory_account;
quern__memory_account quern__memory(void);
/* Makes the nth allocation from now fail (1: the next), and every one after it; 0 turns that off. For tests. */
void quern__memory_fail_at(size_t nth);

/* Whether an allocation of this thread has failed since quern__memory_watch, or since the public function began: of any library,
 * for each sets errno to ENOMEM, and what succeeds leaves errno as it is. */
void quern__memory_watch(void);
bool quern__memory_short(void);

/* Checked arithmetic: false when the result does not fit. */
static inline bool quern__mul(size_t a, size_t b, size_t *out) { return !__builtin_mul_overflow(a, b, out); }
static inline bool quern__add(size_t a, size_t b, size_t *out) { return !__builtin_add_overflow(a, b, out); }

/* ---- strings (strbuf.c) ---- */

/* A string that grows. Zero it before use; a failed allocation is remembered in `failed` and later calls do nothing. */
typedef struct quern__text {
    char *data;
    size_t length, capacity;
    bool failed;
} quern__text;
/* One line of UTF-8, whatever a file put into it: control bytes become blanks, bytes that are no character '?'. */
void quern__one_line(char *text);
void quern__text_add(quern__text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void quern__text_add_bytes(quern__text *t, const char *bytes, size_t n);
void quern__text_free(quern__text *t);

/* Words between blanks; a backslash makes the byte behind it a part of its word. Bytes of the word at p; and the word as it is
 * meant, in place. */
size_t quern__word_length(const char *p);
void quern__word_plain(char *word);
/* Of `count` names, `stride` bytes apart (each a `const char *`), the nearest to `name` by edit distance; NULL if none is near. */
const char *quern__nearest(const char *name, const void *names, size_t count, size_t stride);
/* Names compared as the command compares them: without case and underscores (Conv2D = conv_2d). */
bool quern__same_name(const char *a, const char *b);
/* A finite decimal number, or a fraction of two ("1/255"), and nothing after it. */
bool quern__parse_number(const char *text, double *out);

/* ---- numbers as text, by the C locale whatever the host's is (locale.c) ---- */

double quern__strtod(const char *text, char **end);
float quern__strtof(const char *text, char **end);
int quern__vformat(char *out, size_t size, const char *format, va_list args) __attribute__((format(printf, 3, 0)));
int quern__format(char *out, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* ---- random numbers with addresses (random.c) ---- */

/* Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): a pure function from an address
 * to 128 random bits. Nothing has a state, so nothing need be saved, and any thread may compute any part. */
typedef struct quern__random_key {
    uint32_t k[2];
} quern__random_key;
/* The key for a purpose: seed, purpose (a QUERN__RANDOM_…), and a stream number (a layer, an epoch), hashed, never added. */
quern__random_key quern__random_key_of(uint64_t seed, uint64_t purpose, uint64_t stream);
void quern__random4(quern__random_key key, uint64_t high, uint64_t low, uint32_t out[4]);
/* Uniform in [0, 1) with 53 bits, and a standard normal, at an address. */
double quern__random_uniform(quern__random_key key, uint64_t high, uint64_t low);
double quern__random_normal(quern__random_key key, uint64_t high, uint64_t low);
/* A permutation of 0 … n-1: where `i` goes. A keyed Feistel network of 8 rounds with cycle walking; no state. */
uint64_t quern__random_permute(quern__random_key key, uint64_t n, uint64_t i);
uint64_t quern__hash64(uint64_t x); /* a strong mix of 64 bits (splitmix64's finaliser) */

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

/* Seconds of a clock that only goes forward. */
double quern__now(void);

/* ---- files that are written whole (atomic_file.c) ---- */

/* The file that is meant by a path: what stands at the end of its symbolic links, there or not; room for 4096. */
int quern__file_target(const char *path, char *out, quern_error *err);
/* Where a file is written before it takes the place of `path`: a name that nobody can foresee, with an ending; room for 4096. It is
 * made with quern__file_create. */
int quern__file_beside(const char *path, const char *ending, char *out, quern_error *err);
/* Makes such a file, which is not there yet, for reading and writing. A descriptor, or -1 with errno. */
int quern__file_create(const char *beside);
/* An error at the file beside becomes one at `path`. */
void quern__file_place(quern_error *err, const char *beside, const char *path);
/* A file written beside takes the place of `path`, on the disk and not only in its cache; when it cannot, it is removed. Devices
 * and pipes are written to. */
int quern__file_replace(const char *beside, const char *path, quern_error *err);
/* Whether a file can be written there, as far as that can be known before. */
int quern__file_check(const char *path, quern_error *err);

/* ---- bytes at a place of a file (pread_full.c) ---- */

/* How many of n bytes were read; fewer at the end of the file (errno is 0 then), or where reading failed (errno says why). */
size_t quern__read_at(int fd, void *to, size_t n, int64_t at);
/* Whether all n bytes were written; errno says why not. */
bool quern__write_at(int fd, const void *from, size_t n, int64_t at);

/* ---- the process (process.c) ---- */

size_t quern__peak_bytes(void); /* the most that was resident (VmHWM), 0 if unknown */
/* What the process holds, in bytes; 0 where it is unknown. */
typedef struct quern__process {
    size_t peak;
    size_t files, resident_files; /* mapped of the program and its libraries; resident of them */
    size_t heap, anonymous;       /* given out by malloc; resident and of no file               */
    size_t address_space, data;
} quern__process;
quern__process quern__process_now(void);
/* The least that a memory cgroup (v1 or v2) or an rlimit lets this process have resident, and which; SIZE_MAX: nothing limits.
 * `resident`: what it counts as holding now; `threads` will still be started. */
typedef struct quern__limit {
    size_t bytes;
    const char *name;
} quern__limit;
quern__limit quern__process_limit(const quern__process *now, size_t resident, int threads);
/* Bytes of files that the system could keep in memory for this process; SIZE_MAX: unknown. */
size_t quern__memory_for_files(void);
extern const char *quern__proc, *quern__cgroups; /* where they are read; tests have others */

/* ---- threads (thread.c) ---- */

/* A thread of the library has at least this much stack, whatever the limit (ulimit -s) and the C library's default. */
enum { QUERN__LEAST_STACK = 1 << 20 };
/* The stack that a thread of the library gets, in bytes. */
size_t quern__thread_stack(void);
/* As pthread_create, with that stack. */
int quern__thread_start(pthread_t *thread, void *(*body)(void *), void *argument);
/* Bytes that the stack of the calling thread has left; SIZE_MAX: unknown. */
size_t quern__stack_left(void);

/* ---- options structs (options.c) ----
 * An options struct begins with `size_t size`: its size where the caller was compiled, or 0: the layout of version 0.1,
 * which has `first` bytes. QUERN__OPTIONS copies it into `own`, the layout of this library, and sets own.size; NULL gives
 * zeros. A byte that is set beyond the library's layout is an error: it is an option of a newer version. */
int quern__take_options(void *own, size_t own_size, size_t first, const void *given, const char *function, quern_error *err);
#define QUERN__OPTIONS(own, first, given, err) quern__take_options(&(own), sizeof(own), first, given, __func__, err)

#endif
