/* Declarations of the files of predict: predict.c has the command and the files, rows.c the text of
 * a record, parts.c the names of numbers. */
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
    FILE *to; /* file of an array */
    char path[4096];
} predicted;

/* Numbers of an output with a common name. */
typedef struct part {
    char *name; /* name of the predicted column if known, else of the output */
    int output;
    int target; /* target of the schema that has its classes; -1: none */
    int classes, means, logits;
    int64_t from, width; /* range of the output's numbers */
    bool whole;          /* the part is the whole output */
    bool one_hot;        /* class k is the column of target + k */
} part;

typedef struct writing {
    kind kind;
    bool winner; /* --classes: prints the most probable class only */
    const quern_schema *schema;
    int n_outputs, n_kept;
    predicted outputs[most_outputs];
    part *parts;
    int64_t n_parts;
    bool begun;  /* the header was written */
    bool misfit; /* the predictions have other shapes; the error was printed */
    const char *kept[most_kept];
    char *kept_names;
    FILE *to;
    double *row; /* capacity: the widest output */
} writing;

/* Splits outputs into parts. Returns false if memory is short. */
bool cli_parts_make(writing *w, const quern_model *m);
void cli_parts_free(writing *w);
bool cli_part_has_winner(const part *p);
/* The name of class k; NULL: it has none. */
const char *cli_part_class(const writing *w, const part *p, int64_t k);
/* Writes the names of columns. */
void cli_rows_header(const writing *w);
/* Writes record r as a row or a line of JSON. */
void cli_rows_put(const writing *w, const quern_prediction *p, int64_t r);
void cli_rows_json(const writing *w, const quern_prediction *p, int64_t r);

#endif
