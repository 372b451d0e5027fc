/* The schema of a model's data: the names, kinds and order of the columns that it learned from, the names of the classes of its
 * targets, and how the file was written. A model keeps it in its file, and later data is matched with it by name. A schema does not
 * change once it is made; any thread may read it. */
#ifndef QUERN_SCHEMA_H
#define QUERN_SCHEMA_H

#include <quern/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Threads: any number of them may read it. */
typedef struct quern_schema quern_schema;

/* What the numbers of a target mean to its loss: numbers (regression); one whole number that is a class; 0 or 1, or between; -1 or
 * 1, or between; a number for each class (one-hot, or probabilities); whatever a loss of the program's own makes of them. */
enum {
    QUERN_MEANS_NUMBERS = 0,
    QUERN_MEANS_CLASS = 1,
    QUERN_MEANS_BINARY = 2,
    QUERN_MEANS_SIGN = 3,
    QUERN_MEANS_ONE_HOT = 4,
    QUERN_MEANS_ANYTHING = 5
};

/* How many features and targets there are. */
QUERN_API int quern_schema_features(const quern_schema *s);
QUERN_API int quern_schema_targets(const quern_schema *s);
/* The name of the i-th feature (in the order in which the model takes them) and of the i-th target. NULL: there are not so many.
 * Borrowed from the schema. */
QUERN_API const char *quern_schema_feature(const quern_schema *s, int i);
QUERN_API const char *quern_schema_target(const quern_schema *s, int i);
/* The output of the model (from 0) that the i-th target belongs to; -1: there are not so many targets. */
QUERN_API int quern_schema_target_output(const quern_schema *s, int i);
/* How many classes the i-th target has (0: it is a number), and the name of class k; NULL: there is none. Borrowed. */
QUERN_API int quern_schema_classes(const quern_schema *s, int target);
QUERN_API const char *quern_schema_class(const quern_schema *s, int target, int k);
/* The class that a name stands for; -1: none. */
QUERN_API int quern_schema_find_class(const quern_schema *s, int target, const char *name);
/* The schema as JSON (docs/schema.md), and from JSON, which may be hostile. The text is new (free it with free()); the schema is
 * new (quern_schema_free). NULL on failure. */
QUERN_API char *quern_schema_json(const quern_schema *s, quern_error *err);
QUERN_API quern_schema *quern_schema_from_json(const char *bytes, size_t size, quern_error *err);
QUERN_API void quern_schema_free(quern_schema *s);

#ifdef __cplusplus
}
#endif
#endif
