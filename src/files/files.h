/* files: `.keras` archives. A zip (archive.c) of JSON (config.c) and HDF5 (weights.c). See <quern/files.h>. */
#ifndef QUERN__FILES_H
#define QUERN__FILES_H

#include "model/model.h"
#include <quern/files.h>

/* One member of an archive in memory. */
typedef struct quern__member {
    const char *name;
    char *bytes; /* ends with a 0 that is not counted */
    size_t n;
    bool optional; /* may be missing: then bytes is NULL */
} quern__member;
/* Reads the named members; a missing one that is not optional, or one larger than `limit`, is an error. The caller frees `bytes`
 * with quern__free. */
int quern__archive_read(const char *path, quern__member *members, int n, size_t limit, quern_error *err);
/* Writes all members, stored, in order, atomically. */
int quern__archive_write(const char *path, const quern__member *members, int n, quern_error *err);

/* The vocabularies of a model as members of an archive: makes a list (`n` of them), whose names and bytes quern__assets_free frees.
 */
int quern__assets_write(const quern_model *m, quern__member **list, int *n, quern_error *err);
/* Reads those that are there into the layers that have none in their config. */
int quern__assets_read(quern_model *m, const char *path, size_t limit, quern_error *err);
void quern__assets_free(quern__member *list, int n);

/* model.weights.h5 as an image in memory, and back into the model. */
int quern__weights_write(const quern_model *m, char **bytes, size_t *n, quern_error *err);
int quern__weights_read(quern_model *m, const char *path, const char *bytes, size_t n, quern_error *err);

#endif
