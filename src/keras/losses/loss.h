/* loss: losses as nodes, and what a loss requires of its targets. losses.h is internal to the files
 * of losses. */
#ifndef QUERN__LOSS_H
#define QUERN__LOSS_H

#include "keras/registry/class.h"

/* Adds a loss: its values, weighted, reduced as its config says. `weights` and `mask` (0: none)
 * have at most the rank of the values. With a mask, the mean counts unmasked values only. */
quern__id quern__loss(quern__graph *g, const quern__class *c, json_t *config, quern__id truth,
                      quern__id prediction, quern__id weights, quern__id mask);
/* Squeezes or expands a last axis of size 1 so that truth and prediction have the same rank, as
 * Keras does. */
void quern__match_ranks(quern__graph *g, quern__id *truth, quern__id *prediction);
/* The meaning of a target for a loss (NULL: none) with its config and an output of that shape,
 * QUERN_MEANS_… `classes` gets the number of classes (0: unknown), `ignored` the label that Keras
 * ignores (INT64_MIN: none). */
int quern__loss_means(const quern__class *c, json_t *config, const quern_shape *output,
                      int64_t *classes, int64_t *ignored);
/* The dtype of the targets, which is the result, and their shape, for an output of that shape. */
int quern__loss_target(const quern__class *c, const quern_shape *output, quern_shape *target);

#endif
