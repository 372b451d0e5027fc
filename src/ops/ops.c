/* ops: the table of all rows, and the functions with which builders add nodes. */
#include "build.h"

extern const quern__op quern__op_unary, quern__op_unary_grad, quern__op_binary, quern__op_select,
    quern__op_cast, quern__op_reshape, quern__op_broadcast, quern__op_transpose, quern__op_concat,
    quern__op_slice, quern__op_pad, quern__op_iota, quern__op_stop_gradient, quern__op_reduce,
    quern__op_reduce_grad, quern__op_mean_grad, quern__op_argmax, quern__op_in_top_k,
    quern__op_matmul, quern__op_softmax, quern__op_softmax_grad, quern__op_log_softmax,
    quern__op_log_softmax_grad, quern__op_sparsemax, quern__op_sparsemax_grad,
    quern__op_sparse_crossentropy, quern__op_sparse_crossentropy_grad, quern__op_crossentropy,
    quern__op_crossentropy_grad, quern__op_one_hot, quern__op_dropout, quern__op_assign,
    quern__op_sgd, quern__op_rmsprop, quern__op_adam, quern__op_recurrence,
    quern__op_recurrence_back, quern__op_recurrence_again, quern__op_pack, quern__op_gather,
    quern__op_scatter, quern__op_reverse, quern__op_rebatch, quern__op_normalize,
    quern__op_normalize_grad, quern__op_normalize_sums, quern__op_attention,
    quern__op_attention_grad, quern__op_batched_matmul, quern__op_append, quern__op_lookup,
    quern__op_convolve, quern__op_convolve_back, quern__op_convolve_weights,
    quern__op_convolve_turn, quern__op_depthwise, quern__op_depthwise_back,
    quern__op_depthwise_weights, quern__op_pool, quern__op_pool_grad, quern__op_batch_moments,
    quern__op_batch_merge, quern__op_batch_normalize, quern__op_batch_sums, quern__op_batch_grad,
    quern__op_noise, quern__op_each, quern__op_tally, quern__op_confusion, quern__op_keep_top,
    quern__op_ctc, quern__op_ctc_grad, quern__op_circle, quern__op_circle_grad;

const quern__op *const quern__ops[] = { &quern__op_unary,
                                        &quern__op_unary_grad,
                                        &quern__op_binary,
                                        &quern__op_select,
                                        &quern__op_cast,
                                        &quern__op_reshape,
                                        &quern__op_broadcast,
                                        &quern__op_transpose,
                                        &quern__op_concat,
                                        &quern__op_slice,
                                        &quern__op_pad,
                                        &quern__op_iota,
                                        &quern__op_stop_gradient,
                                        &quern__op_reduce,
                                        &quern__op_reduce_grad,
                                        &quern__op_mean_grad,
                                        &quern__op_argmax,
                                        &quern__op_in_top_k,
                                        &quern__op_matmul,
                                        &quern__op_softmax,
                                        &quern__op_softmax_grad,
                                        &quern__op_log_softmax,
                                        &quern__op_log_softmax_grad,
                                        &quern__op_sparsemax,
                                        &quern__op_sparsemax_grad,
                                        &quern__op_sparse_crossentropy,
                                        &quern__op_sparse_crossentropy_grad,
                                        &quern__op_crossentropy,
                                        &quern__op_crossentropy_grad,
                                        &quern__op_one_hot,
                                        &quern__op_dropout,
                                        &quern__op_assign,
                                        &quern__op_sgd,
                                        &quern__op_rmsprop,
                                        &quern__op_adam,
                                        &quern__op_recurrence,
                                        &quern__op_recurrence_back,
                                        &quern__op_recurrence_again,
                                        &quern__op_pack,
                                        &quern__op_gather,
                                        &quern__op_scatter,
                                        &quern__op_reverse,
                                        &quern__op_rebatch,
                                        &quern__op_normalize,
                                        &quern__op_normalize_grad,
                                        &quern__op_normalize_sums,
                                        &quern__op_attention,
                                        &quern__op_attention_grad,
                                        &quern__op_batched_matmul,
                                        &quern__op_append,
                                        &quern__op_lookup,
                                        &quern__op_convolve,
                                        &quern__op_convolve_back,
                                        &quern__op_convolve_weights,
                                        &quern__op_convolve_turn,
                                        &quern__op_depthwise,
                                        &quern__op_depthwise_back,
                                        &quern__op_depthwise_weights,
                                        &quern__op_pool,
                                        &quern__op_pool_grad,
                                        &quern__op_batch_moments,
                                        &quern__op_batch_merge,
                                        &quern__op_batch_normalize,
                                        &quern__op_batch_sums,
                                        &quern__op_batch_grad,
                                        &quern__op_noise,
                                        &quern__op_each,
                                        &quern__op_tally,
                                        &quern__op_confusion,
                                        &quern__op_keep_top,
                                        &quern__op_ctc,
                                        &quern__op_ctc_grad,
                                        &quern__op_circle,
                                        &quern__op_circle_grad,
                                        NULL };

const quern__op *quern__op_of(const quern__graph *g, quern__id id)
{
    const quern__value *v = quern__graph_value(g, id);
    return v->kind == QUERN__VALUE_NODE ? quern__graph_node_at(g, v->node)->op : NULL;
}

quern__id quern__build(quern__graph *g, const quern__op *op, const quern__id *in, int n_in,
                       const quern__attr *attr, const quern_shape *shape, int dtype)
{
    for (int i = 0; i < n_in; i++)
        if (!in[i])
            return 0;
    quern__id out;
    quern_shape own = *shape; /* a copy: `shape` may belong to a value of this graph */
    return quern__graph_node(g, op, op->name, in, n_in, attr, &own, &dtype, 1, &out);
}

int quern__dtype_of(const quern__graph *g, quern__id id)
{
    return quern__graph_value(g, id)->dtype;
}
const quern_shape *quern__shape_of(const quern__graph *g, quern__id id)
{
    return &quern__graph_value(g, id)->shape;
}

int quern__ways_whole(const quern__graph *g, const quern__node *node)
{
    (void)g, (void)node;
    return QUERN__WAY_WHOLE;
}

int quern__ways_rows(const quern__graph *g, const quern__node *node)
{
    (void)g, (void)node;
    return QUERN__WAY_ROWS;
}
