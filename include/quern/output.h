/* Writing files safely: whole or not at all, and by one process at a time. */
#ifndef QUERN_OUTPUT_H
#define QUERN_OUTPUT_H

#include <quern/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Files that are written whole. quern_file_beside gives the name of a file in the folder of `path` that is not there yet (room for
 * 4096 bytes in `out`); once it is written, quern_file_replace syncs it and puts it in the place of `path`, or removes it when it
 * cannot. Symbolic links are followed to their target; mode and owner of a file that is there stay; devices and pipes are written
 * to. QUERN_OK or a negative status. Any thread. */
QUERN_API int quern_file_beside(const char *path, char *out, quern_error *err);
QUERN_API int quern_file_replace(const char *beside, const char *path, quern_error *err);
/* Whether a file can be written at `path`, as far as that can be known before: a folder that is there and may be written to. */
QUERN_API int quern_file_check(const char *path, quern_error *err);

/* A lock on a file that this process will write, against other processes that take it too: QUERN_INVALID names who holds it. *out
 * is new, and is given back with quern_lock_give; NULL where nothing can be locked (a device, a folder that cannot be written to).
 * A process that ends in whatever way gives its locks back. The same process does not take it twice. Any thread. */
typedef struct quern_lock quern_lock;
QUERN_API int quern_lock_take(const char *path, quern_lock **out, quern_error *err);
QUERN_API void quern_lock_give(quern_lock *l);

#ifdef __cplusplus
}
#endif
#endif
