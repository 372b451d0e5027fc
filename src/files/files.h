/* files: `.keras` archives. A zip (zip_read.c) of JSON (config.c) and HDF5 (keras_weights.c). See <quern/files.h>. */
#ifndef QUERN__FILES_H
#define QUERN__FILES_H

#include "model/model.h"
#include <quern/files.h>

#define QUERN__KERAS_VERSION "3.15.1" /* whose files these are */
/* No file or member that is read whole is larger; no JSON. */
#define QUERN__MOST_BYTES ((size_t)INT32_MAX)
#define QUERN__MOST_JSON  ((size_t)64 << 20)

/* One member of an archive in memory. */
typedef struct quern__member {
    const char *name;
    char *bytes; /* ends with a 0 that is not counted */
    size_t n;
    bool optional; /* may be missing: then bytes is NULL */
    size_t limit;  /* bytes that are read at most; 0: as many as of any */
    bool borrowed; /* name and bytes are another's */
    char *file;    /* of what is written: its bytes are in this file instead, which goes with the member; NULL: they are not */
} quern__member;
/* A file in memory that is made again and again: `n` of `room` bytes. Begins as zeros; `bytes` is freed with quern__free. */
typedef struct quern__image {
    char *bytes;
    size_t n, room;
} quern__image;
/* Reads the named members; a missing one that is not optional, or one larger than `limit`, is an error. The caller frees `bytes`
 * with quern__free. */
int quern__archive_read(const char *path, quern__member *members, int n, size_t limit, quern_error *err);
/* Writes all members, stored, in order, atomically. */
int quern__archive_write(const char *path, const quern__member *members, int n, quern_error *err);

/* Members that are not `ours`, of at most `room` bytes together; freed by quern__assets_free. */
int quern__archive_others(const char *path, bool (*ours)(const char *name), size_t room, quern__member **list, int *n,
                          quern_error *err);
/* A whole file of at most `limit` bytes (quern__free; a 0 stands behind it), and written atomically. */
int quern__file_read(const char *path, size_t limit, char **bytes, size_t *n, quern_error *err);
int quern__file_write(const char *path, const char *bytes, size_t n, quern_error *err);

/* What a `.keras` file of the model has, as it is now; more may be added (bytes are taken, names copied). */
typedef struct quern__members {
    quern__member *list;
    int n;
} quern__members;
/* With `beside` the weights lie in that file, so that writing takes no memory for them; else in `image`, which outlives them. */
int quern__model_members(const quern_model *m, const char *beside, quern__image *image, quern__members *out, quern_error *err);
int quern__members_add(quern__members *m, const char *name, char *bytes, size_t n, quern_error *err);
void quern__members_free(quern__members *m);
/* Members that belong to a run: a model that is opened and saved again leaves them out. */
#define QUERN__RUN_JSON  "run.json"
#define QUERN__RUN_BYTES "run.bin"

/* The vocabularies of a model as members of an archive: makes a list (`n` of them), whose names and bytes quern__assets_free frees.
 */
int quern__assets_write(const quern_model *m, quern__member **list, int *n, quern_error *err);
/* Reads those that are there into the layers that have none in their config. */
int quern__assets_read(quern_model *m, const char *path, size_t limit, quern_error *err);
void quern__assets_free(quern__member *list, int n);

/* ---- h5_write.c: an HDF5 file made in memory, or at a path ---- */
typedef struct quern__h5_file quern__h5_file;
/* With an image it is made there, over what was there before; its room grows as it must. */
quern__h5_file *quern__h5_create(const char *path, quern__image *image, quern_error *err);
/* Ends a file: an error where not all of it could be written. */
int quern__h5_finish(quern__h5_file *f, quern_error *err);
/* Gives up a file, or one in memory; NULL: nothing. A file at a path that was not finished is removed. */
void quern__h5_close(quern__h5_file *f);
/* A group, with an attribute (name NULL: none); a variable as a dataset; groups on the way are made. */
int quern__h5_write_group(quern__h5_file *f, const char *path, const char *name, const char *text, quern_error *err);
int quern__h5_write_variable(quern__h5_file *f, const char *path, quern__variable *v, quern_error *err);
/* Attributes of an object ("": of the file): a string, and a list of them, which may become several. */
int quern__h5_write_text(quern__h5_file *f, const char *path, const char *name, const char *text, quern_error *err);
int quern__h5_write_texts(quern__h5_file *f, const char *path, const char *name, const char *const *list, int n, quern_error *err);

/* A dataset into a variable of its shape. */
struct quern__h5;
int quern__h5_read_variable(struct quern__h5 *h, uint64_t object, const char *where, quern__variable *v, quern_error *err);
/* model.weights.h5 as a file, or as an image in memory, and back into the model. */
int quern__weights_write(const quern_model *m, const char *beside, quern__image *image, quern_error *err);
int quern__weights_read(quern_model *m, const char *path, const char *bytes, size_t n, quern_error *err);

/* ---- legacy_h5.c, legacy_config.c: whole-model `.h5` ---- */
bool quern__is_legacy_name(const char *path);
/* The config of such a file (`training` NULL: none) as that of a `.keras` file; `old`: of Keras 2. Returns new. */
json_t *quern__legacy_config(json_t *model, json_t *training, bool old);
/* The same for config.json of a `.keras` file of Keras 2. Returns new. */
json_t *quern__legacy_archive_config(json_t *root);
/* The model of an image, whose weights may take `room` bytes. */
quern_model *quern__legacy_read(const char *path, const char *bytes, size_t n, size_t room, quern_error *err);
/* Its weights alone, into a model; QUERN_END when the file is laid out otherwise. */
int quern__legacy_weights(quern_model *m, struct quern__h5 *h, quern_error *err);
int quern__legacy_write(const quern_model *m, const char *path, quern_error *err);

#endif
