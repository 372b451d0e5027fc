/* named_weights: files with named arrays. Their numbers are described as HDF5 datasets, so that one
 * function converts all dtypes.
 */
#ifndef QUERN__NAMED_H
#define QUERN__NAMED_H

#include "files.h"
#include "h5.h"

typedef struct quern__safetensors quern__safetensors;
/* Opens a file in memory, borrowed until it is closed. The caller closes `*out` after a failure
 * too. */
int quern__safetensors_open(quern__safetensors **out, const char *bytes, size_t n,
                            const char *where, quern_error *err);
void quern__safetensors_close(quern__safetensors *s);
/* An object whose keys are the names. Returns borrowed. */
json_t *quern__safetensors_names(const quern__safetensors *s);
/* Searches an array. Returns QUERN_END when it does not exist. */
int quern__safetensors_find(const quern__safetensors *s, const char *name, quern__h5_set *set,
                            quern_error *err);
int quern__safetensors_write(const char *path, quern__variable *const *v, const char *const *names,
                             int n, quern_error *err);

/* Reads an array of a member of at most `limit` bytes. `*bytes` has its content (quern__free, after
 * a failure too). Returns QUERN_END when it does not exist. */
int quern__npz_find(const char *path, const char *name, size_t limit, quern__h5_set *set,
                    char **bytes, quern_error *err);
int quern__npz_write(const char *path, quern__variable *const *v, const char *const *names, int n,
                     quern_error *err);

#endif
