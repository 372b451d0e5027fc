/* column_map: maps named columns to the elements of a model's inputs and outputs. All sources
 * whose records have names use it. The functions have the prefix quern__deal_. */
#ifndef QUERN__DEAL_H
#define QUERN__DEAL_H

#include "schema/schema.h"
#include "source.h"

/* Sets order[i] to the column of element i of the concatenated inputs (target: outputs). An
 * input or output of one element takes the column that has its name. The others take the
 * remaining columns in order. The caller initialises order with 0 … n-1. */
int quern__deal_by_name(const quern_batch_spec *spec, bool target, const char *const *names, int n,
                        int *order, quern_error *err);
/* The output that contains element `place` of the concatenated targets. */
int quern__deal_output(const quern_batch_spec *spec, int64_t place);
/* Whether the loss of an output takes class names. */
bool quern__deal_classifies(const quern_batch_spec *spec, int output);
/* Whether the columns of an output are labels of the same units, and therefore share one list of
 * class names. */
bool quern__deal_shares(const quern_batch_spec *spec, int output);
/* Joins the class names of those columns in the schema. */
int quern__deal_share(const quern_batch_spec *spec, quern_schema *s, quern_error *err);
/* Checks that the number of classes of a column fits the loss and units of an output. */
int quern__deal_classes(const quern_batch_spec *spec, int output, const char *column,
                        const quern__names *classes, const char *where, quern_error *err);

/* Checks that an array has the axes of array `array` of the batch (quern__axes_check). If
 * another loss would take the target, the hint names that loss. */
int quern__deal_axes(const quern_batch_spec *spec, int array, const char *where,
                     const quern_shape *have, quern_error *err);
/* Adds the hint that names the loss that takes `per` numbers per record, if the output does not
 * take them. */
void quern__deal_hint(const quern_batch_spec *spec, int output, int64_t per, quern_error *err);

#endif
