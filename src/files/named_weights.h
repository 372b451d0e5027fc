/* named: files that hold arrays by name, whose numbers are read as those of HDF5 are. */
#ifndef QUERN__NAMED_H
#define QUERN__NAMED_H

#include "files.h"
#include "h5.h"

typedef struct quern__safetensors quern__safetensors;
/* Opens an image (borrowed until it is closed). `*out` is to be closed on failure too. */
int quern__safetensors_open(quern__safetensors **out, const char *bytes, size_t n, const char *where, quern_error *err);
void quern__safetensors_close(quern__safetensors *s);
/* An object whose keys are the names. Borrowed. */
json_t *quern__safetensors_names(const quern__safetensors *s);
/* An array; QUERN_END when there is none. */
int quern__safetensors_find(const quern__safetensors *s, const char *name, quern__h5_set *set, quern_error *err);
int quern__safetensors_write(const char *path, quern__variable *const *v, const char *const *names, int n, quern_error *err);

/* An array of a member of at most `limit` bytes, which `*bytes` holds (quern__free, on failure too); QUERN_END when there is none.
 */
int quern__npz_find(const char *path, const char *name, size_t limit, quern__h5_set *set, char **bytes, quern_error *err);
int quern__npz_write(const char *path, quern__variable *const *v, const char *const *names, int n, quern_error *err);

#endif
