/* Status codes, the error object, the version, logging and memory.
 *
 * Functions. A function that creates an object returns the object, or NULL.
 * Every other function that can fail returns 0 or a positive number on
 * success, and a negative quern_status on failure. Both kinds take
 * `quern_error *err` as an argument; NULL: the caller wants no details.
 *
 * Errors. A function that takes an error clears it first and fills it on
 * failure. The caller may reuse an error and need not zero it; a later failure
 * overwrites an earlier one. After the call, `code` is 0 if it succeeded. The
 * status that a function returns equals `code`, also where the error is NULL.
 * Within one call the first failure wins.
 *
 * Arguments. A NULL where a function needs an object, a name or an array is
 * QUERN_INVALID, and so is a number out of range; the error names the argument.
 * A function without an error argument returns 0, NULL or NaN instead. NULL is
 * allowed where a header gives it a meaning, and in every `_free` function.
 *
 * Ownership. "Returns new": the caller owns the result and frees it.
 * "Borrowed": another object owns it; the caller does not free it. "Takes": the
 * function frees the argument, also on failure. "Copies": the argument may be
 * freed after the call.
 *
 * Threads. Any thread may call a function. The comment of each type says what
 * threads may do with one object. Different objects may be used concurrently. */
#ifndef QUERN_STATUS_H
#define QUERN_STATUS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define QUERN_API __attribute__((visibility("default")))
#else
#define QUERN_API
#endif

/* ---- version ---- */

#define QUERN_VERSION_MAJOR 0
#define QUERN_VERSION_MINOR 1
#define QUERN_VERSION_PATCH 0

/* The version as one number, for comparisons in the preprocessor. */
#define QUERN_VERSION \
    (QUERN_VERSION_MAJOR * 10000 + QUERN_VERSION_MINOR * 100 + QUERN_VERSION_PATCH)

/* The version of the linked library as "MAJOR.MINOR.PATCH". Returns borrowed:
 * valid for ever. */
QUERN_API const char *quern_version(void);

/* ---- status codes and errors ---- */

/* Every code, its number, which never changes, and its meaning. */
#define QUERN_STATUS_LIST(X)                                      \
    X(OK, 0, "done")                                              \
    X(NOMEM, -1, "out of memory, or over a set limit")            \
    X(INVALID, -2, "an argument or option is wrong")              \
    X(SHAPE, -3, "shapes do not match")                           \
    X(DTYPE, -4, "the data type does not match")                  \
    X(NOTFOUND, -5, "no such file, layer, option or name")        \
    X(IO, -6, "a read or write failed")                           \
    X(FORMAT, -7, "the data or file has an invalid format")       \
    X(UNSUPPORTED, -8, "not supported by this version or build")  \
    X(CLOSED, -9, "the other end has closed")                     \
    X(CANCELED, -10, "stopped on request")                        \
    X(USER, -11, "a callback of the caller failed")               \
    X(INTERNAL, -12, "a bug in quern")                            \
    X(BUDGET, -13, "does not fit the memory budget")              \
    X(NUMBER, -14, "a number is not finite, or out of its range") \
    X(STALLED, -15, "waited longer than allowed")

typedef enum quern_status {
#define QUERN_STATUS_ENUM(name, number, text) QUERN_##name = number,
    QUERN_STATUS_LIST(QUERN_STATUS_ENUM)
#undef QUERN_STATUS_ENUM
    /* Positive, so a success: the data has ended (StopIteration). */
    QUERN_END = 1
} quern_status;

/* A failure: what is wrong and where. The caller owns it; one thread at a
 * time may use it. All texts end with a zero byte. */
typedef struct quern_error {
    int32_t code;    /* a quern_status; 0: no failure */
    int32_t step;    /* training step of the failure, from 1; 0: not in a step */
    char where[256]; /* the place: `train.csv:812`, a layer; may be empty */
    char text[384];  /* the fact in one line: `7 fields, expected 9` */
    char hint[160];  /* what to do; may be empty */
} quern_error;

/* Resets an error to code 0 and empty texts. NULL: does nothing. */
QUERN_API void quern_error_clear(quern_error *err);

/* The meaning of a status code, such as "out of memory, or over a stated
 * limit". Returns borrowed: valid for ever. */
QUERN_API const char *quern_status_text(int status);

/* The entry of `names` (`count` entries) that is nearest to `name`, for a hint
 * such as "did you mean …?". Returns borrowed from `names`; NULL: no entry is
 * near. */
QUERN_API const char *quern_nearest(const char *name, const char *const *names, size_t count);

/* ---- kernels for kinds of processor ---- */

/* Selects the kernels of one instruction set: "avx512", "avx2", "sse2", "neon"
 * or "portable". NULL: the default, which is the environment variable QUERN_ISA
 * or the widest set that the processor has. The instruction set decides the
 * bits of results (docs/bits.md); avx512 and avx2 give the same bits. Existing
 * plans keep their kernels, so call it before any other function. Returns 0;
 * QUERN_INVALID for an unknown name; QUERN_UNSUPPORTED for a set that the
 * processor does not have. */
QUERN_API int quern_set_isa(const char *name, quern_error *err);

/* The name of the selected instruction set. Returns borrowed: valid for ever;
 * NULL: QUERN_ISA names a set that is not available. */
QUERN_API const char *quern_isa(void);

/* The name of the i-th instruction set that the processor has, the widest
 * first. Returns borrowed: valid for ever; NULL: i is out of range. */
QUERN_API const char *quern_isa_name(int i);

/* ---- logging and memory ---- */

/* Receives one line of the log: a warning (level 1) or a note (level 2). `text`
 * has no newline and is borrowed for the call. Any thread may call it, one at a
 * time. */
typedef void quern_log_fn(void *user, int level, const char *text);

/* Sets the function that receives the log; borrows `user`. NULL: the library
 * discards the log, as it does by default. Not thread-safe: call it before any
 * other function. */
QUERN_API void quern_set_log(quern_log_fn *fn, void *user);

/* Allocates `bytes` bytes (`old` NULL), resizes `old`, or frees it (`bytes` 0),
 * as realloc does. Any thread may call it. */
typedef void *quern_alloc_fn(void *context, void *old, size_t bytes);

/* Sets the allocator hook of the library; borrows `context`. NULL: the C
 * library. Call it before any other function; the hook that allocated a block
 * must free it. The hook does not serve thread stacks, functions of the C
 * library (streams, folders, sorting, iconv), texts that the caller frees with
 * free(), and the libraries jansson, libzip, zlib and utf8proc. The library may
 * return pages of its blocks to the system (madvise), so a block must not be
 * memory that others see. */
QUERN_API void quern_set_memory(quern_alloc_fn *alloc, void *context);

#ifdef __cplusplus
}
#endif
#endif
