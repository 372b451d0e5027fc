/* The schema of a model's data: names, kinds and order of the columns, the names
 * of the classes, and how the file was written. A model file contains the schema;
 * later data is matched with it by column name. */
#ifndef QUERN_SCHEMA_H
#define QUERN_SCHEMA_H

#include <quern/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* An immutable schema. Threads: any number may read it. */
typedef struct quern_schema quern_schema;

/* What the values of a target mean to its loss. */
enum {
    QUERN_MEANS_NUMBERS = 0, /* real numbers (regression) */
    QUERN_MEANS_CLASS = 1,   /* one integer: the index of a class */
    QUERN_MEANS_BINARY = 2,  /* 0 … 1 */
    QUERN_MEANS_SIGN = 3,    /* -1 … 1 */
    QUERN_MEANS_ONE_HOT = 4, /* one number for each class, or probabilities */
    QUERN_MEANS_ANYTHING = 5 /* unknown: a user-defined loss */
};

/* ---- features ---- */

/* Number of feature columns. */
QUERN_API int quern_schema_features(const quern_schema *s);

/* Name of the i-th feature, in the order of the model's inputs. Returns
 * borrowed from the schema; NULL: i is out of range. */
QUERN_API const char *quern_schema_feature(const quern_schema *s, int i);

/* ---- targets and classes ---- */

/* Number of target columns. */
QUERN_API int quern_schema_targets(const quern_schema *s);

/* Name of the i-th target. Returns borrowed from the schema; NULL: i is out of
 * range. */
QUERN_API const char *quern_schema_target(const quern_schema *s, int i);

/* Index of the model output that the i-th target belongs to; -1: i is out of
 * range. */
QUERN_API int quern_schema_target_output(const quern_schema *s, int i);

/* Number of classes of a target; 0: the target is a number. */
QUERN_API int quern_schema_classes(const quern_schema *s, int target);

/* Name of class k of a target. Returns borrowed from the schema; NULL: k is out
 * of range. */
QUERN_API const char *quern_schema_class(const quern_schema *s, int target, int k);

/* Index of the class with that name; -1: unknown name. */
QUERN_API int quern_schema_find_class(const quern_schema *s, int target, const char *name);

/* ---- JSON (docs/schema.md) ---- */

/* The schema as JSON. Returns new: free it with free(); NULL on failure. */
QUERN_API char *quern_schema_json(const quern_schema *s, quern_error *err);

/* Reads a schema from `size` bytes of JSON, which may be untrusted. Returns new,
 * NULL on failure. */
QUERN_API quern_schema *quern_schema_from_json(const char *bytes, size_t size, quern_error *err);

/* Frees a schema. NULL: does nothing. */
QUERN_API void quern_schema_free(quern_schema *s);

#ifdef __cplusplus
}
#endif
#endif
