/* What the files of predict share: predict.c is the command and its files, rows.c what is written of a record as text,
 * parts.c what its numbers are called. */
#ifndef QUERN_CLI_PREDICT_H
#define QUERN_CLI_PREDICT_H

#include "commands.h"

enum { most_outputs = 16, most_kept = 8 };
typedef enum kind { CSV, TSV, NPY, NPZ, JSONL } kind;

/* An output of the model. */
typedef struct predicted {
    const char *name;
    int64_t width;
    quern_shape shape;
    FILE *to; /* of arrays */
    char path[4096];
} predicted;

/* Numbers of an output that have a name in common. */
typedef struct part {
    char *name; /* of the column that they predict, where that is known; else of the model's output */
    int output;
    int target; /* of the schema, whose classes they have; -1: they have none */
    int classes, means, logits;
    int64_t from, width; /* of the output's numbers */
    bool whole;          /* they are all numbers of the output */
    bool one_hot;        /* class k is the column that target + k predicts */
} part;

typedef struct writing {
    kind kind;
    bool winner; /* --classes: the likeliest alone */
    const quern_schema *schema;
    int n_outputs, n_kept;
    predicted outputs[most_outputs];
    part *parts;
    int64_t n_parts;
    bool begun; /* the header is written */
    const char *kept[most_kept];
    char *kept_names;
    FILE *to;
    double *row; /* room for the widest output */
} writing;

/* Cuts outputs into parts; false: out of memory. */
bool cli_parts_make(writing *w, const quern_model *m);
void cli_parts_free(writing *w);
bool cli_part_has_winner(const part *p);
/* The name of class k; NULL: it has none. */
const char *cli_part_class(const writing *w, const part *p, int64_t k);
/* The names of columns. */
void cli_rows_header(const writing *w);
/* Record r as a row, or a line of JSON. */
void cli_rows_put(const writing *w, const quern_prediction *p, int64_t r);
void cli_rows_json(const writing *w, const quern_prediction *p, int64_t r);

#endif
