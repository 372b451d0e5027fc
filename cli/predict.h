/* What the files of predict share: predict.c is the command and its files, rows.c what is written of a record as text. */
#ifndef QUERN_CLI_PREDICT_H
#define QUERN_CLI_PREDICT_H

#include "commands.h"

enum { most_outputs = 16, most_kept = 8 };
typedef enum kind { CSV, TSV, NPY, NPZ, JSONL } kind;

/* An output of the model, and what its numbers are called. */
typedef struct predicted {
    const char *name; /* of the column that it predicts, where that is known; else of the model's output */
    char own[1048];   /* room for a name that no column has */
    int target;       /* of the schema, whose classes it has; -1: it has none */
    int classes, logits;
    int64_t width;
    quern_shape shape;
    FILE *to; /* of arrays */
    char path[4096];
} predicted;

typedef struct writing {
    kind kind;
    bool winner; /* --classes: the likeliest alone */
    const quern_schema *schema;
    int n_outputs, n_kept;
    predicted outputs[most_outputs];
    const char *kept[most_kept];
    char *kept_names;
    FILE *to;
    double *row; /* room for the widest output */
} writing;

/* The names of columns. */
void cli_rows_header(const writing *w);
/* Record r as a row, or a line of JSON. */
void cli_rows_put(const writing *w, const quern_prediction *p, int64_t r);
void cli_rows_json(const writing *w, const quern_prediction *p, int64_t r);

#endif
