/* conformance: cases that real Keras computed, one `.npz` each (tests/data/keras/README.md), run
 * through the library. Each group of cases has one function. A case whose class the library lacks
 * is skipped; the case runs as soon as the class has a descriptor row. */
#ifndef QUERN_CONFORMANCE_H
#define QUERN_CONFORMANCE_H

#include "grad/grad.h"
#include "keras/keras.h"
#include "step/step.h"

enum { MOST_MEMBERS = 1700, MOST_OUTPUTS = 64 };

typedef struct member {
    char name[40];
    quern_tensor t; /* owns its data */
} member;

typedef enum outcome { PASSED, FAILED, SKIPPED } outcome;

typedef struct test_case {
    char group[64], name[256], folder[700]; /* folder: of a case that is a whole model */
    json_t *spec;
    json_t *one;            /* of the cases of a file with many; borrowed */
    int number;             /* index among them */
    const char *class_name; /* "" if it has no name */
    json_t *config;         /* of the spec; borrowed */
    int n_members;
    member members[MOST_MEMBERS];
    double rtol, atol, max_error;
    outcome result;
    char reason[500];
} test_case;

/* ---- npz.c ---- */
/* Reads every member of the file; "spec" becomes the JSON, which field cases do not have. Accepts
 * little-endian arrays in C order only. */
int case_read(test_case *c, const char *path, quern_error *err);
void case_free(test_case *c);
/* Reads a case that is one JSON document. */
int case_read_json(test_case *c, const char *path, quern_error *err);
/* The member of that name; NULL: no such member. */
const quern_tensor *case_member(const test_case *c, const char *name);
/* "x" and 3: "x3". */
const quern_tensor *case_numbered(const test_case *c, const char *letter, int k);
/* The members of the inputs called `arg` (of update `update`, -1: any), in order. Returns their
 * number. */
int case_inputs(const test_case *c, const char *arg, int update, const quern_tensor **out,
                int most);

/* ---- verdicts (verdict.c) ---- */
void case_fail(test_case *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
void case_skip(test_case *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* An error of the library: if it lacks a class or option, the case is skipped; otherwise it
 * fails. */
void case_error(test_case *c, const quern_error *err);
/* Compares numbers with a member within the tolerance of the case. `what` names them in the
 * reason. */
void case_compare(test_case *c, const char *what, const quern_tensor *got,
                  const quern_tensor *want);
void case_compare_within(test_case *c, const char *what, const quern_tensor *got,
                         const quern_tensor *want, double rtol, double atol);

/* ---- graphs (evaluate.c) ---- */
typedef struct evaluation {
    quern__graph *graph;
    int n_slots;
    void *arrays[MOST_MEMBERS];
    quern__variable *variables[MOST_MEMBERS];
    int n_variables;
    int64_t records; /* the size of a dynamic first axis; 0: all axes are fixed */
    quern__team *team;
    quern__plan *plan;
    void *arena;
} evaluation;
/* All are empty; `records` is 0 if the first axis is not a batch. */
int evaluation_begin(evaluation *e, int64_t records, quern_error *err);
/* A leaf with the tensor: float64 becomes float32, other types stay. The first axis is dynamic if
 * it is the batch. */
quern__id evaluation_leaf(evaluation *e, const quern_tensor *t);
/* A leaf of fixed shape. */
quern__id evaluation_constant(evaluation *e, const quern_tensor *t);
/* Runs the graph for these values (0 is skipped). Their numbers are then in `out` (views of the
 * evaluation). */
int evaluation_run(evaluation *e, const quern__id *ids, int n, quern_tensor *out, quern_error *err);
/* sum(y * g) for a member g in the shape of y. */
quern__id evaluation_seeded(evaluation *e, quern__id y, const quern_tensor *g);
void evaluation_end(evaluation *e);
/* The first axis that all members of the inputs share; 0: none. */
int64_t case_records(const test_case *c);

/* ---- groups ---- */
void run_activation(test_case *c);
void run_regularizer(test_case *c);
void run_constraint(test_case *c);
void run_schedule(test_case *c);
void run_initializer(test_case *c);
void run_loss(test_case *c);
void run_metric(test_case *c);
void run_optimizer(test_case *c);
void run_layer(test_case *c);
void run_model(test_case *c);
void run_legacy(test_case *c);
void run_field(test_case *c);
/* Files with many cases: called for each, with c->one. */
void run_preprocessing(test_case *c);
void run_sampling(test_case *c);
/* Preprocessing (text.c). */
void check_text_vectorization(test_case *c, json_t *one);
void check_lookup(test_case *c, json_t *one);
/* The same through the layer of that class (lookups.c). */
void check_through_layer(test_case *c, const char *class_name, json_t *one);
/* Preprocessing to categories (categories.c). */
void check_categories(test_case *c, json_t *one);
/* Windows over rows (series.c). */
void check_series(test_case *c, json_t *one);
/* Arrays (arrays.c). */
void check_pad_sequences(test_case *c, json_t *one);
void check_to_categorical(test_case *c, json_t *one);
void check_char_windows(test_case *c, json_t *one);
void check_normalize(test_case *c, json_t *one);
/* Text functions of Keras 2 (words.c). */
void check_word_sequence(test_case *c, json_t *one);
void check_word_index(test_case *c, json_t *one);
void check_sampling_table(test_case *c, json_t *one);

#endif
