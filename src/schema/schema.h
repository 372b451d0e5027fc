/* schema: the columns of a model's data by name. The model, its file, and every source that has names share this struct. */
#ifndef QUERN__SCHEMA_H
#define QUERN__SCHEMA_H

#include "base/base.h"
#include <jansson.h>
#include <quern/schema.h>

enum { QUERN__MOST_CLASSES = 4096, QUERN__MOST_COLUMNS = 4096, QUERN__MOST_NAME = 1024 };

/* Names of classes: name i is class i. */
typedef struct quern__names {
    char **list;
    int n, room;
    int *sorted; /* the classes in byte order of their names; NULL: the list is in that order itself */
} quern__names;
/* The class of a name; -1: it is none. */
int quern__names_find(const quern__names *s, const char *name);
/* Puts a name that may be there already at its place in byte order. */
int quern__names_add(quern__names *s, const char *name, quern_error *err);
/* Puts all names of `from` there too. */
int quern__names_join(quern__names *s, const quern__names *from, quern_error *err);
int quern__names_copy(quern__names *to, const quern__names *from, quern_error *err);
void quern__names_free(quern__names *s);

/* What the values of a column are. */
enum { QUERN__COLUMN_NUMBER = 0, QUERN__COLUMN_TEXT = 1, QUERN__COLUMN_CLASS = 2 };
typedef struct quern__schema_column {
    char *name;
    int kind;
    int output; /* of a target: the output of the model, from 0 */
    bool fills; /* a missing value becomes `fill` */
    double fill;
    char *fill_class; /* of a class: the name that a missing one becomes; NULL: none */
    quern__names classes;
} quern__schema_column;

struct quern_schema {
    int n_features, n_targets;
    quern__schema_column *columns; /* features, then targets */
    char separator, decimal;
    bool no_header;
    char encoding[32];  /* "": UTF-8, or what the file's mark says */
    bool missing_given; /* `missing` is what stands for a missing value, in place of the usual words */
    quern__names missing;
};

/* An empty schema with room for so many columns. NULL: out of memory. */
quern_schema *quern__schema_new(int n_features, int n_targets, quern_error *err);
quern_schema *quern__schema_copy(const quern_schema *s, quern_error *err);
/* A copy whose i-th feature is features[i] of s, and target likewise (NULL: the same). */
quern_schema *quern__schema_pick(const quern_schema *s, const int *features, const int *targets, quern_error *err);
/* The feature or target of a name; -1: none. */
int quern__schema_find(const quern_schema *s, bool target, const char *name);
static inline const quern__schema_column *quern__schema_at(const quern_schema *s, bool target, int i)
{
    return &s->columns[target ? s->n_features + i : i];
}
/* As JSON, new; NULL: out of memory, or a name that is no UTF-8. */
json_t *quern__schema_write(const quern_schema *s);
quern_schema *quern__schema_read(json_t *root, quern_error *err);
/* Where the columns of data are that the model wants: order[i] of the data's is the model's i-th feature or target, and class k of
 * the data's i-th target is the model's map[i][k] (NULL: the same numbers; the arrays are new). What the model wants and the data
 * lacks is an error that names it; without targets those are not looked for. */
int quern__schema_order(const quern_schema *model, const quern_schema *data, bool target, const char *where, int *order,
                        quern_error *err);
int quern__schema_class_map(const quern__schema_column *model, const quern__schema_column *data, const char *where, int **map,
                            quern_error *err);
/* The next name of a list between commas, in place; a name in quotes may hold commas, and doubled quotes. It ends at one of `stops`
 * (0: the end of the text), which *stop gets. NULL: there is no more. */
char *quern__next_name(char **rest, const char *stops, char *stop);
/* "no column is called 'NAME'", with the nearest of n names, `stride` bytes apart, as its hint. */
int quern__schema_missing(const char *where, const char *name, const void *names, size_t n, size_t stride, quern_error *err);

#endif
