/* schema: the named columns of a model's data, with their order, kinds and class names. The
 * model, its file and all sources with named columns use this struct. */
#ifndef QUERN__SCHEMA_H
#define QUERN__SCHEMA_H

#include "base/base.h"
#include <jansson.h>
#include <quern/schema.h>

enum { QUERN__MOST_CLASSES = 4096, QUERN__MOST_COLUMNS = 4096, QUERN__MOST_NAME = 1024 };

/* Class names: name i belongs to class i. */
typedef struct quern__names {
    char **list;
    int n, room;
    int *sorted; /* class indices in byte order of the names; NULL: the list itself is in byte order
                  */
} quern__names;
/* The class of a name; -1: unknown. */
int quern__names_find(const quern__names *s, const char *name);
/* Inserts a name in byte order, unless it exists. Only for lists without `sorted`. */
int quern__names_add(quern__names *s, const char *name, quern_error *err);
/* Inserts all names of `from`. */
int quern__names_join(quern__names *s, const quern__names *from, quern_error *err);
/* Copies a list to *to, which is not initialised. */
int quern__names_copy(quern__names *to, const quern__names *from, quern_error *err);
/* Frees the list and makes it empty. */
void quern__names_free(quern__names *s);

/* Kinds of the values of a column. */
enum { QUERN__COLUMN_NUMBER = 0, QUERN__COLUMN_TEXT = 1, QUERN__COLUMN_CLASS = 2 };
typedef struct quern__schema_column {
    char *name;
    int kind;
    int output; /* of a target: index of the model's output */
    bool fills; /* `fill` substitutes a missing value */
    double fill;
    char *fill_class; /* of a class: this name substitutes a missing one; NULL: no substitute */
    quern__names classes;
} quern__schema_column;

struct quern_schema {
    int n_features, n_targets;
    quern__schema_column *columns; /* features, then targets */
    char separator, decimal;
    bool no_header;
    char encoding[32];  /* "": UTF-8, or the encoding of the byte order mark */
    bool missing_given; /* `missing` replaces the default words for a missing value */
    quern__names missing;
};

/* A schema with empty columns. Returns new; NULL: out of memory. */
quern_schema *quern__schema_new(int n_features, int n_targets, quern_error *err);
/* A deep copy. Returns new. */
quern_schema *quern__schema_copy(const quern_schema *s, quern_error *err);
/* A copy whose i-th feature is features[i] of s, and likewise for targets (NULL: the same
 * order). Returns new. */
quern_schema *quern__schema_pick(const quern_schema *s, const int *features, const int *targets,
                                 quern_error *err);
/* The feature or target with a name; -1: unknown. */
int quern__schema_find(const quern_schema *s, bool target, const char *name);
static inline const quern__schema_column *quern__schema_at(const quern_schema *s, bool target,
                                                           int i)
{
    return &s->columns[target ? s->n_features + i : i];
}
/* The schema as JSON. Returns new; NULL: out of memory, or a name is not UTF-8. */
json_t *quern__schema_write(const quern_schema *s);
/* Reads a schema from JSON. Borrows root. Returns new; NULL if it is invalid. */
quern_schema *quern__schema_read(json_t *root, quern_error *err);
/* Maps the columns of the data to those of the model. order[i] is the data's index of the
 * model's i-th feature or target. map[k] is the model's class of class k of a data column; *map
 * is new, NULL: identity. A column or class that the other side lacks is an error that names it. */
int quern__schema_order(const quern_schema *model, const quern_schema *data, bool target,
                        const char *where, int *order, quern_error *err);
int quern__schema_class_map(const quern__schema_column *model, const quern__schema_column *data,
                            const char *where, int **map, quern_error *err);
/* Parses the next name of a comma-separated list, in place. A quoted name may contain commas and
 * doubled quotes. *stop gets the character of `stops` that ended the name; 0: the end of the
 * text. NULL: no more names. */
char *quern__next_name(char **rest, const char *stops, char *stop);
/* Fails with "no column is called 'NAME'". The hint suggests the nearest of n names, `stride`
 * bytes apart. */
int quern__schema_missing(const char *where, const char *name, const void *names, size_t n,
                          size_t stride, quern_error *err);

#endif
