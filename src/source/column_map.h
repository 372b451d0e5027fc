/* deal: how columns with names become the numbers of a model's inputs and outputs. Every source whose records have names uses it.
 */
#ifndef QUERN__DEAL_H
#define QUERN__DEAL_H

#include "schema/schema.h"
#include "source.h"

/* order[i] of n columns stands at place i of the inputs (targets: of the outputs), one behind the other: an input or output of one
 * number that is called as a column is takes that column; the others take what is left, in order. At first order is 0 … n-1. */
int quern__deal_by_name(const quern_batch_spec *spec, bool target, const char *const *names, int n, int *order, quern_error *err);
/* The output that the target at a place belongs to. */
int quern__deal_output(const quern_batch_spec *spec, int64_t place);
/* Whether an output's loss takes names of classes. */
bool quern__deal_classifies(const quern_batch_spec *spec, int output);
/* Whether the columns of an output are labels of the same units: then they have their names of classes in common, */
bool quern__deal_shares(const quern_batch_spec *spec, int output);
/* which the schema gets. */
int quern__deal_share(const quern_batch_spec *spec, quern_schema *s, quern_error *err);
/* Whether so many classes of a column fit what an output's loss makes of its target. */
int quern__deal_classes(const quern_batch_spec *spec, int output, const char *column, const quern__names *classes,
                        const char *where, quern_error *err);

/* Whether an array that is read has the axes of array `array` of the batch (quern__axes_check); of a target that another loss would
 * take, the hint names that loss. */
int quern__deal_axes(const quern_batch_spec *spec, int array, const char *where, const quern_shape *have, quern_error *err);
/* Where a target has `per` numbers a record, which its output does not take: the loss that takes them, as the error's hint. */
void quern__deal_hint(const quern_batch_spec *spec, int output, int64_t per, quern_error *err);

#endif
