/* Atomic writes and lock files. */
#ifndef QUERN_OUTPUT_H
#define QUERN_OUTPUT_H

#include <quern/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- atomic writes ---- */

/* Writes the name of a new temporary file in the folder of `path` to `out`,
 * which has 4096 bytes. Follows symbolic links. For a device or a pipe the
 * temporary file is in TMPDIR. Returns 0 or a negative status. Any thread. */
QUERN_API int quern_file_beside(const char *path, char *out, quern_error *err);

/* Completes an atomic write: syncs the temporary file `beside` and renames it to
 * `path`. Keeps mode and owner of an existing file; copies the bytes to a device
 * or a pipe. On failure it removes `beside`. Returns 0 or a negative status. Any thread. */
QUERN_API int quern_file_replace(const char *beside, const char *path, quern_error *err);

/* Checks that the folder of `path` exists and is writable. Returns 0 or a
 * negative status. Any thread. */
QUERN_API int quern_file_check(const char *path, quern_error *err);

/* ---- lock files ---- */

/* A lock on a file against other processes. Threads: one at a time. */
typedef struct quern_lock quern_lock;

/* Locks the file that this process will write at `path`. Sets *out to a new
 * lock, or to NULL where a lock is not possible (a device, a read-only folder).
 * The system releases the lock when the process ends. Returns 0 or a negative
 * status; QUERN_INVALID names the process that holds the lock, which may be
 * this one. Any thread. */
QUERN_API int quern_lock_take(const char *path, quern_lock **out, quern_error *err);

/* Releases a lock. NULL: does nothing. */
QUERN_API void quern_lock_give(quern_lock *l);

#ifdef __cplusplus
}
#endif
#endif
