/* attributes: names of the numbers of a node (quern__attr), for ops with more than two of them. For
 * each op, the first enum has indices of `i` and the second indices of `f`. Builders, gradients and
 * kernels use the names. */
#ifndef QUERN__OPS_ATTRIBUTES_H
#define QUERN__OPS_ATTRIBUTES_H

/* attention, attention_grad. MASK and OFFSET: index of that input; 0: none. ZEROS: the result where
 * all keys are masked is 0. */
enum {
    QUERN__ATTENTION_HEADS,
    QUERN__ATTENTION_SHARED,
    QUERN__ATTENTION_CAUSAL,
    QUERN__ATTENTION_MASK,
    QUERN__ATTENTION_OFFSET,
    QUERN__ATTENTION_ZEROS,
    QUERN__ATTENTION_SEED
};
enum { QUERN__ATTENTION_SCALE, QUERN__ATTENTION_DROPOUT };

/* Image ops: quern__frame. STRIDE, DILATION, BEFORE and KERNEL have one number for each of three
 * spatial axes, aligned to the right. AXES: the number of spatial axes. Then, of one op each:
 * whether a pooling computes the mean; the parts of a gradient of a kernel. */
enum {
    QUERN__FRAME_STRIDE = 0,
    QUERN__FRAME_DILATION = 3,
    QUERN__FRAME_BEFORE = 6,
    QUERN__FRAME_KERNEL = 9,
    QUERN__FRAME_AXES = 12,
    QUERN__POOL_MEAN = 13,
    QUERN__WEIGHTS_PARTS = 13
};

/* normalize, batch_normalize and their gradients. GAMMA and BETA: index of that input; 0: none.
 * CENTRED: of normalize. */
enum { QUERN__NORMALIZE_GAMMA, QUERN__NORMALIZE_BETA, QUERN__NORMALIZE_CENTRED };
enum { QUERN__NORMALIZE_EPSILON };

/* recurrence, recurrence_back, recurrence_again. OPTIONAL: bit mask of the optional inputs. LEAN:
 * the forward pass stores nothing for the backward pass. */
enum {
    QUERN__RECURRENCE_CELL,
    QUERN__RECURRENCE_FUNCTION,
    QUERN__RECURRENCE_OPTIONAL,
    QUERN__RECURRENCE_LEAN
};

/* slice, pad: the axis, the first index of the part, the sizes of the part and of the whole. */
enum { QUERN__SLICE_AXIS, QUERN__SLICE_BEGIN, QUERN__SLICE_PART, QUERN__SLICE_WHOLE };

/* reduce, reduce_grad, mean_grad. FUNCTION: QUERN__SUM and others. AXES: a bit mask. */
enum { QUERN__REDUCE_FUNCTION, QUERN__REDUCE_AXES, QUERN__REDUCE_KEEPDIMS };

/* lookup: the address of a quern__look; the elements that it takes and gives at a time. */
enum { QUERN__LOOKUP_OBJECT, QUERN__LOOKUP_TAKEN, QUERN__LOOKUP_GIVEN };

/* confusion: whether a label is ignored, and which; whether numbers are truncated to integers. */
enum { QUERN__CONFUSION_IGNORES, QUERN__CONFUSION_IGNORED, QUERN__CONFUSION_WHOLE };

/* circle, circle_grad. */
enum { QUERN__CIRCLE_ALONE };
enum { QUERN__CIRCLE_GAMMA, QUERN__CIRCLE_MARGIN };

/* dropout; noise has the seed only. SHARED: bit mask of the axes that share a random number. */
enum { QUERN__DROPOUT_SEED, QUERN__DROPOUT_SHARED };
enum { QUERN__DROPOUT_RATE };

/* Optimizer steps. HAS_…: whether the optional slot or input exists. */
enum { QUERN__SGD_HAS_MOMENTUM, QUERN__SGD_NESTEROV };
enum { QUERN__SGD_MOMENTUM, QUERN__SGD_DECAY };
enum { QUERN__RMSPROP_HAS_MOMENTUM, QUERN__RMSPROP_CENTERED, QUERN__RMSPROP_HAS_SQUARES };
enum { QUERN__RMSPROP_RHO, QUERN__RMSPROP_MOMENTUM, QUERN__RMSPROP_EPSILON, QUERN__RMSPROP_DECAY };
enum { QUERN__ADAM_AMSGRAD, QUERN__ADAM_HAS_SQUARES };
enum { QUERN__ADAM_BETA_1, QUERN__ADAM_BETA_2, QUERN__ADAM_EPSILON, QUERN__ADAM_DECAY };

#endif
