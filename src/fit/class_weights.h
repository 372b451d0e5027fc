/* Class weights as sample weights, and the check of targets: the work on a batch between source and
 * step. */
#ifndef QUERN__BATCH_H
#define QUERN__BATCH_H

#include "source/source.h"

/* Weights by class. */
typedef struct quern__class_weights {
    int64_t n;
    float *weight; /* NaN: the class has no weight; NULL: no class weights */
} quern__class_weights;
/* Parses "0:1,1:4" or "ant:1,bee:4" (NULL: none) for the only target of a run. The caller frees
 * `weight`. */
int quern__class_weights_read(const char *text, const quern_batch_spec *spec,
                              quern__class_weights *out, quern_error *err);
/* Multiplies the weights of the records of a batch by those of their classes. A class without a
 * weight is an error. */
int quern__class_weights_weigh(const quern__class_weights *c, quern_batch *b, quern_error *err);
/* Checks that the targets of a batch are in the range of their losses. An error names the record.
 */
int quern__labels_check(const quern_batch *b, const quern_generator *g, quern_error *err);

#endif
