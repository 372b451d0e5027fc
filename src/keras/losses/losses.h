/* losses: value functions of losses, internal to src/keras/losses and metrics. Each computes one
 * value per record, or per element of all axes but the last, from truth and prediction. */
#ifndef QUERN__LOSSES_H
#define QUERN__LOSSES_H

#include "keras/keras.h"

typedef quern__id quern__value_fn(quern__graph *g, json_t *config, quern__id truth,
                                  quern__id prediction);

/* regression_losses.c: distances, hinges, overlaps */
quern__value_fn quern__squared, quern__squares_of, quern__absolute, quern__percentage,
    quern__squared_logarithmic, quern__huber, quern__log_cosh, quern__poisson, quern__kl_divergence,
    quern__cosine, quern__hinge, quern__squared_hinge, quern__categorical_hinge, quern__dice,
    quern__tversky, quern__pearson, quern__concordance;
/* crossentropy.c */
quern__value_fn quern__binary_crossentropy, quern__categorical_crossentropy,
    quern__sparse_categorical_crossentropy, quern__ctc_value, quern__circle_value,
    quern__binary_focal, quern__categorical_focal, quern__generalized_crossentropy;
/* accuracy.c */
quern__value_fn quern__values, quern__equal, quern__argmax_equal, quern__sparse_equal,
    quern__binary_equal, quern__sparse_top_k, quern__top_k;

/* The mean over the last axis. */
quern__id quern__last_mean(quern__graph *g, quern__id x);
/* Moves the axis that the config names (null: -1) to the end. */
quern__id quern__axis_last(quern__graph *g, json_t *config, quern__id x);
/* Casts the truth to the prediction's type and gives both the same rank. */
void quern__match(quern__graph *g, quern__id *truth, quern__id *prediction);

/* Rows of metrics with `counts`: confusion_metrics.c, iou_fscore_r2.c. */
extern const quern__class quern__metric_tp, quern__metric_fp, quern__metric_tn, quern__metric_fn,
    quern__metric_precision, quern__metric_recall, quern__metric_sensitivity_at,
    quern__metric_specificity_at, quern__metric_precision_at, quern__metric_recall_at,
    quern__metric_auc, quern__metric_iou, quern__metric_binary_iou, quern__metric_mean_iou,
    quern__metric_one_hot_iou, quern__metric_one_hot_mean_iou, quern__metric_f1,
    quern__metric_fbeta, quern__metric_r2;

#endif
