/* keras: Keras's classes. This header includes the parts of the module that other modules use:
 *
 *   registry/class.h       descriptor rows, configs, spec strings
 *   base/layer.h           layers, their calls and states
 *   losses/loss.h          losses as nodes
 *   metrics/accumulator.h  metrics over batches
 *   optimizers/optimizer.h optimizers and their slots */
#ifndef QUERN__KERAS_H
#define QUERN__KERAS_H

#include "keras/base/layer.h"
#include "keras/losses/loss.h"
#include "keras/metrics/accumulator.h"
#include "keras/optimizers/optimizer.h"
#include "keras/registry/class.h"

/* ---- objects that a config names: a name, {"class_name", "config"}, or null ---- */

/* activations.c: applies an activation; null is linear. */
quern__id quern__activation(quern__graph *g, json_t *spec, quern__id x);
int quern__activation_check(json_t *spec, quern_error *err);
bool quern__is_activation(const char *name);
/* initializers.c: fills a variable. */
int quern__initialize(json_t *spec, quern__variable *v, uint64_t seed, quern_error *err);
/* A regularizer's penalty on x, a scalar; 0 for null. */
quern__id quern__penalty(quern__graph *g, json_t *spec, quern__id x);
/* constraints.c: the projection of x; 0 for null. */
quern__id quern__constrained(quern__graph *g, json_t *spec, quern__id x);
/* schedules.c: the rate at a step; NaN when `spec` is not a schedule. */
double quern__schedule_rate(json_t *spec, double step);

#endif
