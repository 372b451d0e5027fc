/* Status codes, the error that a caller owns, and the version.
 *
 * Two shapes of function, no third. Makers return the object, or NULL. Everything else that can fail
 * returns int: 0 or a positive number on success, a negative quern_status otherwise. Both fill the
 * `quern_error *` they are given (the last argument, or the keyword `.error`); NULL if you do not care.
 *
 * A function that is given an error clears it first, then fills it on failure: an error may be used again and need not be zeroed,
 * and a later failure overwrites an earlier one. `code` tells afterwards whether that call failed. The status that a function
 * returns is the error's code, also where the error is NULL. Within one call the first failure wins.
 *
 * A NULL where an object, a name or an array is needed is QUERN_INVALID, and so is a number that is out of range; the error names
 * the argument. What has no error to fill says it by what it returns: getters 0, NULL or NaN, makers NULL; nothing dies. NULL is
 * allowed where a header says what it means, and in every function that frees.
 *
 * Threads: any thread may call a function; each type of object says below its name what threads may do with one. Different objects
 * may be used at once.
 */
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

#define QUERN_VERSION_MAJOR 0
#define QUERN_VERSION_MINOR 1
#define QUERN_VERSION_PATCH 0

/* Every code, its number (pinned for ever) and what it means. */
#define QUERN_STATUS_LIST(X)                                      \
    X(OK, 0, "done")                                              \
    X(NOMEM, -1, "out of memory, or over a stated limit")         \
    X(INVALID, -2, "an argument or option is wrong")              \
    X(SHAPE, -3, "shapes do not fit")                             \
    X(DTYPE, -4, "the type of the numbers does not fit")          \
    X(NOTFOUND, -5, "no such file, layer, option or name")        \
    X(IO, -6, "reading or writing failed")                        \
    X(FORMAT, -7, "the data or file is not what it says it is")   \
    X(UNSUPPORTED, -8, "known, but not in this version or build") \
    X(CLOSED, -9, "the other side has gone")                      \
    X(CANCELED, -10, "stopped on request")                        \
    X(USER, -11, "a callback of the caller failed")               \
    X(INTERNAL, -12, "a fault of quern itself")                   \
    X(BUDGET, -13, "does not fit the memory budget")              \
    X(NUMBER, -14, "a number is not finite, or out of its range") \
    X(STALLED, -15, "waited longer than allowed")

typedef enum quern_status {
#define QUERN_STATUS_ENUM(name, number, text) QUERN_##name = number,
    QUERN_STATUS_LIST(QUERN_STATUS_ENUM)
#undef QUERN_STATUS_ENUM
    /* Positive: success, and StopIteration: there is no further batch. */
    QUERN_END = 1
} quern_status;

/* What went wrong, and where. The caller owns it; one thread at a time. */
typedef struct quern_error {
    int32_t code;    /* a quern_status; 0 while nothing failed                          */
    int32_t step;    /* training step (from 1) on which it failed, 0 if on none         */
    char where[256]; /* the place: file, record, layer … (`train.csv:812`); may be empty */
    char text[384];  /* the fact, one line, lower case (`7 fields, expected 9`)         */
    char hint[160];  /* what to do about it, may be empty                               */
} quern_error;

/* As before any failure: code 0, no text. NULL is fine. */
QUERN_API void quern_error_clear(quern_error *err);

/* The meaning of a status code in a few words, for instance "out of memory …". Returns borrowed: valid for ever. */
QUERN_API const char *quern_status_text(int status);

/* The library's version, "MAJOR.MINOR.PATCH". Returns borrowed: valid for ever. */
QUERN_API const char *quern_version(void);

/* Kinds of processor for which the library has kernels: avx512, avx2, sse2; neon; portable. The kind that computes decides the bits
 * of results (docs/bits.md); avx512 and avx2 give the same ones. The widest that the processor has is chosen, or the one that the
 * environment variable QUERN_ISA names.
 *
 * Chooses another from now on; NULL: as at the start. What was planned before stays as it is: call it before anything else. A name
 * that is no kind is QUERN_INVALID, one that this processor has not QUERN_UNSUPPORTED. */
QUERN_API int quern_set_isa(const char *name, quern_error *err);
/* The name of the kind that is chosen; NULL: QUERN_ISA names none that is here. Returns borrowed: valid for ever. */
QUERN_API const char *quern_isa(void);
/* The name of the i-th kind that this processor has, the widest first; NULL behind the last. Returns borrowed. */
QUERN_API const char *quern_isa_name(int i);

/* Receives every line the library has to say that is not an error: warnings (level 1) and notes (level 2).
 * `text` has no newline and is borrowed for the call. May be called on any thread, one at a time. */
typedef void quern_log_fn(void *user, int level, const char *text);

/* Sets where log lines go. NULL: nowhere (the start). Not thread-safe: call it before anything else. */
QUERN_API void quern_set_log(quern_log_fn *fn, void *user);

/* Sets where memory of the library comes from: `alloc(context, old, bytes)` allocates (old NULL), resizes,
 * or frees (bytes 0), as realloc does. NULL goes back to the C library. Call it before anything else; what was
 * allocated through one door must be freed through it. The C library gives, as before: stacks of threads, what its own
 * functions ask for (streams, folders, sorting, iconv), texts that the caller frees with free, and what jansson (configs
 * of layers), libzip, zlib and utf8proc ask for, whose allocators are the process's or none. */
typedef void *quern_alloc_fn(void *context, void *old, size_t bytes);
QUERN_API void quern_set_memory(quern_alloc_fn *alloc, void *context);

/* Of `count` names the nearest to `name`, as hints give it ("did you mean …?"); NULL: none is near. Borrowed from `names`. Any
 * thread. */
QUERN_API const char *quern_nearest(const char *name, const char *const *names, size_t count);

#ifdef __cplusplus
}
#endif
#endif
