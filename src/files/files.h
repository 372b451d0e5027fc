/* files: `.keras` archives: a zip (zip_read.c, zip_write.c) with JSON and HDF5 (keras_weights.c);
 * whole-model `.h5` files and files of weights. See <quern/files.h>. All writes are atomic. All
 * files are hostile input: sizes are checked before memory is allocated. */
#ifndef QUERN__FILES_H
#define QUERN__FILES_H

#include "model/model.h"
#include <quern/files.h>

#define QUERN__KERAS_VERSION "3.15.1" /* the Keras version that the files name */
/* Limit on the bytes of a file or member that is read as a whole, and of JSON. */
#define QUERN__MOST_BYTES ((size_t)INT32_MAX)
#define QUERN__MOST_JSON  ((size_t)64 << 20)

/* A member of an archive, in memory. */
typedef struct quern__member {
    const char *name;
    char *bytes; /* a 0 byte follows the n bytes */
    size_t n;
    bool optional; /* the member may be missing; bytes is NULL then */
    size_t limit;  /* limit on the bytes; 0: QUERN__MOST_BYTES */
    bool borrowed; /* name and bytes are borrowed */
    char *file;    /* writing: a file with the content; the writer removes it; NULL: the content is
                      `bytes` */
} quern__member;
/* A buffer for files in memory that is reused: `n` bytes of `room`. Starts as zeros. The owner
 * frees `bytes` with quern__free. */
typedef struct quern__image {
    char *bytes;
    size_t n, room;
} quern__image;
/* Reads the named members. A missing member that is not optional, or one larger than `limit`, is an
 * error. The caller frees `bytes` with quern__free. */
int quern__archive_read(const char *path, quern__member *members, int n, size_t limit,
                        quern_error *err);
/* Writes all members without compression, in order, atomically. */
int quern__archive_write(const char *path, const quern__member *members, int n, quern_error *err);

/* Reads the members for which `ours` is false, of at most `room` bytes in total. The caller frees
 * them with quern__assets_free. */
int quern__archive_others(const char *path, bool (*ours)(const char *name), size_t room,
                          quern__member **list, int *n, quern_error *err);
/* Reads a whole file of at most `limit` bytes into a new buffer (quern__free), which a 0 byte ends;
 * writes a file atomically. */
int quern__file_read(const char *path, size_t limit, char **bytes, size_t *n, quern_error *err);
int quern__file_write(const char *path, const char *bytes, size_t n, quern_error *err);

/* The members of a model's `.keras` file. Callers can add more: `bytes` are taken, names are
 * copied. */
typedef struct quern__members {
    quern__member *list;
    int n;
} quern__members;
/* Collects the members. With `beside`, the weights are written to that file, so that writing needs
 * no memory for them. Otherwise they are in `image`, which must outlive the members. */
int quern__model_members(const quern_model *m, const char *beside, quern__image *image,
                         quern__members *out, quern_error *err);
int quern__members_add(quern__members *m, const char *name, char *bytes, size_t n,
                       quern_error *err);
void quern__members_free(quern__members *m);
/* Members with the state of a run. A model that is opened and saved does not keep them. */
#define QUERN__RUN_JSON  "run.json"
#define QUERN__RUN_BYTES "run.bin"

/* The vocabularies of a model as n new members. The caller frees the list with quern__assets_free.
 */
int quern__assets_write(const quern_model *m, quern__member **list, int *n, quern_error *err);
/* Reads vocabularies from an archive into the layers whose config does not have one. */
int quern__assets_read(quern_model *m, const char *path, size_t limit, quern_error *err);
void quern__assets_free(quern__member *list, int n);

/* ---- h5_write.c: writes an HDF5 file to a path or into memory ---- */
typedef struct quern__h5_file quern__h5_file;
/* Creates a file. With an image, the file is in memory and replaces the content of the image.
 * Returns new. */
quern__h5_file *quern__h5_create(const char *path, quern__image *image, quern_error *err);
/* Completes a file and writes it atomically. Returns an error when a write has failed. */
int quern__h5_finish(quern__h5_file *f, quern_error *err);
/* Frees the object (NULL: does nothing). Removes the temporary file of a path that was not
 * finished. */
void quern__h5_close(quern__h5_file *f);
/* Writes a group with a string attribute (name NULL: none), or a variable as a dataset. Missing
 * parent groups are created. */
int quern__h5_write_group(quern__h5_file *f, const char *path, const char *name, const char *text,
                          quern_error *err);
int quern__h5_write_variable(quern__h5_file *f, const char *path, quern__variable *v,
                             quern_error *err);
/* Writes an attribute of an object ("": of the file): a string, or a list of strings, which Keras
 * splits into several attributes above its limit. */
int quern__h5_write_text(quern__h5_file *f, const char *path, const char *name, const char *text,
                         quern_error *err);
int quern__h5_write_texts(quern__h5_file *f, const char *path, const char *name,
                          const char *const *list, int n, quern_error *err);

/* ---- stored_weights.c: variables in the form in which files store them ---- */

/* The dtype and shape in files, without numbers. */
quern_tensor quern__stored_form(const quern__variable *v);
/* The same with the numbers, which quern__stored_free frees. */
int quern__stored_numbers(quern__variable *v, quern_tensor *out, quern_error *err);
void quern__stored_free(const quern__variable *v, quern_tensor *t);
/* Reads a dataset of that form into a variable. */
struct quern__h5;
struct quern__h5_set;
int quern__stored_read(struct quern__h5 *h, const struct quern__h5_set *set, const char *where,
                       quern__variable *v, quern_error *err);
int quern__h5_read_variable(struct quern__h5 *h, uint64_t object, const char *where,
                            quern__variable *v, quern_error *err);

/* Writes model.weights.h5 to a file or into memory, and reads it into the model. Reading loses the
 * content of `bytes`, whose pages are freed once they are read. */
int quern__weights_write(const quern_model *m, const char *beside, quern__image *image,
                         quern_error *err);
int quern__weights_read(quern_model *m, const char *path, const char *bytes, size_t n,
                        quern_error *err);

/* ---- legacy_h5.c, legacy_config.c: whole-model `.h5` ---- */
bool quern__is_legacy_name(const char *path);
/* Converts the config of a whole-model `.h5` file (`training` NULL: none) to that of a `.keras`
 * file. `old`: written by Keras 2. Returns new. */
json_t *quern__legacy_config(json_t *model, json_t *training, bool old);
/* The same for config.json of a `.keras` file of Keras 2. Returns new. */
json_t *quern__legacy_archive_config(json_t *root);
/* The model of a file in memory; its weights may have `room` bytes. Returns new. */
quern_model *quern__legacy_read(const char *path, const char *bytes, size_t n, size_t room,
                                quern_error *err);
/* Reads the weights of such a file into a model. Returns QUERN_END when the file has another
 * layout. */
int quern__legacy_weights(quern_model *m, struct quern__h5 *h, quern_error *err);
int quern__legacy_write(const quern_model *m, const char *path, quern_error *err);

#endif
