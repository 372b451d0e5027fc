/* model_graphs: one graph per mode (training, evaluation, prediction), planned at first use, and
 * their execution.
 *
 * A program is a graph with its plan. make_program builds it in this order:
 *
 *   forward pass   quern__model_forward: the nodes of all layer calls, in the blueprint's order
 *   loss, metrics  backward(): from targets and sample weights, as arrays of the batch
 *   backward pass  quern__gradients, then the optimizer's nodes
 *   recomputation  in training, if the memory level requires it
 *   plan           quern__plan_new_with
 *
 * The arrays of a batch have slots: inputs, then targets, then sample weights. A program is valid
 * for a capacity and for kinds of weights; another kind makes a new program. Shapes of open axes
 * have programs of their own (open_axes.c). All programs share one arena, the size of the largest.
 *
 * Metrics and the mean loss are totals and counts in variables, so a step has no output but its
 * weights and these. In prediction the outputs stay in the arena until the next run. */
#include "model_struct.h"

#include <string.h>

void quern__program_free(quern__program *p)
{
    quern__plan_free(p->plan);
    quern__graph_free(p->graph);
    *p = (quern__program){ 0 };
}

/* Collects the inputs and masks of a node. Returns whether an input has a time axis. */
static bool gather_inputs(const quern__call_node *node, const quern__id *ids,
                          const quern__id *masks, const bool *timed, quern__id *in,
                          quern__id *in_masks)
{
    bool any = false;
    for (int i = 0; i < node->n_in; i++) {
        in[i] = ids[node->in[i]];
        in_masks[i] = node->unmasked >> i & 1 ? 0 : masks[node->in[i]];
        any = any || (timed && timed[node->in[i]]);
    }
    return any;
}

void quern__model_nodes(quern_model *m, quern__layer *outer, quern__graph *g,
                        const quern__context *call, quern__id *ids, quern__id *masks, bool *timed)
{
    quern_blueprint *b = m->b;
    quern__id in[QUERN__MAX_ARGUMENTS], in_masks[QUERN__MAX_ARGUMENTS];
    for (int k = 0; k < b->n && !quern__graph_status(g); k++) {
        quern__call_node *node = &b->nodes[k];
        quern__context context = { .training = call->training,
                                   .again = call->again || node->again,
                                   .masks = in_masks,
                                   .arguments = node->arguments,
                                   .options = node->options,
                                   .stepping = call->stepping };
        if (node->n_in == 0)
            continue;
        bool steps = gather_inputs(node, ids, masks, timed, in, in_masks);
        if (steps && call->stepping && !node->layer->kind->by_step)
            call->stepping->refused = node->layer->name;
        if (outer)
            quern__layer_call_inside(outer, node->layer, g, in, node->n_in, &context);
        else
            quern__layer_call(node->layer, g, in, node->n_in, &context);
        for (int i = 0; i < node->n_out; i++) {
            ids[node->first + i] = context.out[i];
            masks[node->first + i] = context.mask_out[i];
            if (timed)
                timed[node->first + i] = steps && !context.ended;
        }
    }
}

static void set_era(quern__layer *l, bool keras_2)
{
    l->keras_2 = keras_2;
    for (int i = 0; i < l->n_inner; i++)
        set_era(l->inner[i], keras_2);
}

void quern__model_forward(quern_model *m, quern__graph *g, bool training, quern__stepping *stepping,
                          quern__id *ids, quern__id *masks, quern__id *penalty)
{
    quern_blueprint *b = m->b;
    quern__context call = { .training = training, .stepping = stepping };
    bool *timed = stepping ? quern__zalloc((size_t)b->n_values, sizeof *timed) : NULL;
    if (stepping && !timed)
        quern__graph_fail(g, QUERN_NOMEM, "out of memory");
    for (int i = 0; i < m->n_in; i++) {
        quern_shape shape = *quern__tensor_shape(b, m->in[i]);
        if (stepping)
            shape.dims[1] = stepping->steps;
        if (timed)
            timed[m->in[i]] = true;
        ids[m->in[i]] = quern__graph_batch(g, i, quern__tensor_dtype(b, m->in[i]), &shape);
    }
    for (int k = 0; k < b->n; k++) {
        b->nodes[k].layer->penalty = 0;
        set_era(b->nodes[k].layer, m->keras_2);
    }
    quern__model_nodes(m, NULL, g, &call, ids, masks, timed);
    for (int k = 0; k < b->n; k++)
        if (!b->nodes[k].again && b->nodes[k].layer->penalty) {
            quern__id own = b->nodes[k].layer->penalty;
            *penalty = *penalty ? quern__add2(g, *penalty, own) : own;
        }
    quern__free(timed);
}

quern_shape quern__model_weights_shape(const quern_model *m, int output, int kind)
{
    const quern_shape *s = quern__tensor_shape(m->b, m->out[output]);
    bool steps = kind == QUERN_WEIGHTS_STEPS && s->rank > 2 && s->dims[1] > 0;
    return (quern_shape){ .rank = 1 + steps, .dims = { -1, steps ? s->dims[1] : 0 } };
}

enum { most_trained = 4096 };

/* Adds the loss and metrics; in training also gradients and the optimizer. `rows` is the number of
 * records as a sum of ones, so that it is right for a short batch too. */
static int backward(quern_model *m, quern__program *p, bool training, quern__id penalty,
                    quern_error *err)
{
    quern__graph *g = p->graph;
    quern_shape open = { .rank = 1, .dims = { -1 } }, s, w;
    quern__id truth[QUERN__MAX_IO], weights[QUERN__MAX_IO] = { 0 }, own[QUERN__MAX_IO] = { 0 },
                                    loss = 0, d[most_trained];
    for (int i = 0; i < m->n_out; i++) {
        int dtype = quern_model_target(m, i, &s);
        truth[i] = quern__graph_batch(g, m->n_in + i, dtype, &s);
        w = quern__model_weights_shape(m, i, p->weighing.of[i]);
        if (p->weighing.of[i])
            weights[i] = quern__graph_batch(g, m->n_in + m->n_out + i, QUERN_FLOAT32, &w);
        if (!m->loss_rows[i])
            continue;
        quern__graph_scope(g, "loss");
        own[i] = quern__loss(g, m->loss_rows[i], m->loss_configs[i], truth[i], p->outputs[i],
                             weights[i], p->masks[i]);
        if (own[i] && quern__shape_of(g, own[i])->rank)
            quern__graph_fail(g, QUERN_UNSUPPORTED, "reduction none cannot be used in training");
        quern__id part =
            m->loss_weights[i] == 1 ? own[i] : quern__scale(g, own[i], m->loss_weights[i]);
        loss = loss ? quern__add2(g, loss, part) : part;
        quern__micro_batches_loss(m, p, i, own[i]);
    }
    quern__id share =
        training && m->micro_batches.n ? quern__graph_variable(g, m->micro_batches.share) : 0;
    if (penalty)
        loss = quern__add2(g, loss, penalty);
    p->loss = loss;
    quern__graph_scope(g, "metrics");
    quern__id ones = quern__broadcast(g, quern__graph_constant(g, 1, QUERN_FLOAT64), &open),
              rows = quern__reduce(g, QUERN__SUM, ones, ~0u, false);
    for (int i = 0; i < m->n_means; i++) {
        quern__mean *mean = &m->means[i];
        quern__accumulator *own_sum = mean->measure;
        int o = mean->output;
        if (own_sum && own_sum->row)
            quern__accumulator_nodes(own_sum, g, truth[o], p->outputs[o],
                                     mean->weighted ? weights[o] : 0, p->masks[o]);
        if (!own_sum || own_sum->row)
            continue;
        /* Keras 3 does not know the batch size at compile time: the mean loss of an output weights
         * all batches equally, the total loss weights them by their size. */
        quern__id part = quern__cast(g, o < 0 ? loss : own[o], QUERN_FLOAT64);
        bool by_record = o < 0 || m->keras_2;
        quern__id counts = by_record ? rows
                           : share   ? quern__cast(g, share, QUERN_FLOAT64)
                                     : quern__graph_constant(g, 1, QUERN_FLOAT64);
        part = by_record || share ? quern__mul2(g, part, counts) : part;
        quern__assign(g, own_sum->total,
                      quern__add2(g, quern__graph_variable(g, own_sum->total), part));
        quern__assign(g, own_sum->count,
                      quern__add2(g, quern__graph_variable(g, own_sum->count), counts));
    }
    if (!training)
        return QUERN_OK;
    quern__optimizer *o = m->optimizer;
    quern__id wrt[most_trained];
    if (o->n > most_trained)
        return quern__fail(err, QUERN_UNSUPPORTED, m->name, "more than %d trained weights",
                           most_trained);
    for (int k = 0; k < o->n; k++)
        wrt[k] = quern__graph_variable(g, o->trained[k]);
    quern__id scaled = quern__optimizer_scale(o, g, share ? quern__mul2(g, loss, share) : loss);
    int status = quern__gradients(g, scaled, 0, wrt, o->n, d, err);
    if (status < 0)
        return status;
    quern__micro_batches_optimizer(m, p, d);
    if (share)
        return quern__micro_batches_add(m, g, d, err);
    quern__optimizer_nodes(o, g, d);
    return QUERN_OK;
}

/* Replaces the graph by one with activation recomputation; keeps it when no node can be recomputed.
 */
static int recompute(const quern_model *m, quern__program *p, quern__id *outputs, int n,
                     quern_error *err)
{
    size_t values = (size_t)quern__graph_values(p->graph) + 1;
    quern__id *id = quern__zalloc(values, sizeof *id);
    quern_error why = { 0 };
    if (!id)
        return quern__fail_memory(err, values * sizeof *id);
    quern__graph *g =
        quern__plan_recompute(p->graph, outputs, n, p->capacity,
                              m->low_memory - QUERN__LOW_MEMORY_RECOMPUTE + 1, id, &why);
    /* the ids of the new graph */
    if (g) {
        for (int i = 0; i < n; i++)
            outputs[i] = id[outputs[i]];
        for (int i = 0; i < m->n_out; i++)
            p->outputs[i] = id[p->outputs[i]];
        p->loss = id[p->loss];
        quern__graph_free(p->graph);
        p->graph = g;
        p->recomputed = true;
    }
    quern__free(id);
    return g || why.code == QUERN_NOTFOUND ? QUERN_OK
                                           : quern__fail(err, why.code, why.where, "%s", why.text);
}

/* Outputs and inputs of most layers: integers become float32. */
static quern__id as_floats(quern__graph *g, quern__id x)
{
    int dtype = x ? quern__graph_value(g, x)->dtype : 0;
    return dtype == QUERN_INT32 || dtype == QUERN_INT64 ? quern__cast(g, x, QUERN_FLOAT32) : x;
}

/* Plans the graph of a program. Without a backward pass, few values are live at a time, but the fast
 * schedule keeps those of a whole phase. A large arena is then planned again with the low-memory
 * schedule, which costs barriers only. */
static int make_plan(const quern_model *m, quern__mode mode, quern__program *p,
                     const quern__id *outputs, int n, quern_error *err)
{
    enum { large = 16 << 20 };
    bool low = m->low_memory != QUERN__LOW_MEMORY_NONE;
    p->plan = quern__plan_new_with(p->graph, outputs, n, p->capacity, low, err);
    if (p->plan && mode != QUERN__TRAIN && !low && p->plan->arena_bytes > large) {
        quern__plan_free(p->plan);
        p->plan = quern__plan_new_with(p->graph, outputs, n, p->capacity, true, err);
    }
    return p->plan ? QUERN_OK : err && err->code ? err->code : QUERN_NOMEM;
}

/* Builds the graph of a mode: the forward pass, then loss, metrics and, in training, the backward
 * pass and the optimizer. */
static int make_program(quern_model *m, quern__mode mode, quern__program *p, quern_error *err)
{
    quern__id penalty = 0, outputs[QUERN__MAX_IO + 1],
              *ids = quern__zalloc(2 * (size_t)m->b->n_values + 1, sizeof *ids),
              *masks = ids + m->b->n_values;
    int n = 0;
    p->graph = ids ? quern__graph_new() : NULL;
    int status =
        p->graph ? QUERN_OK : quern__fail_memory(err, (size_t)m->b->n_values * sizeof *ids);
    /* states of the builder, then the layers */
    if (status >= 0)
        quern__graph_lean(p->graph,
                          mode != QUERN__TRAIN || m->low_memory >= QUERN__LOW_MEMORY_RECOMPUTE);
    if (status >= 0)
        quern__model_forward(m, p->graph, mode == QUERN__TRAIN, NULL, ids, masks, &penalty);
    if (status >= 0)
        quern__micro_batches_layers(m, p, quern__graph_nodes(p->graph));
    /* the outputs; for quern__model_value one value of the blueprint */
    for (int i = 0; i < m->n_out && status >= 0; i++) {
        quern__id inner = p == &m->inner ? ids[m->inner_value] : 0;
        p->outputs[i] =
            inner && m->inner_whole ? inner : as_floats(p->graph, inner ? inner : ids[m->out[i]]);
        p->masks[i] = masks[m->out[i]];
    }
    quern__free(ids);
    if (status >= 0 && mode != QUERN__PREDICT)
        status = backward(m, p, mode == QUERN__TRAIN, penalty, err);
    if (status >= 0 && quern__graph_status(p->graph))
        status =
            quern__fail(err, quern__graph_status(p->graph), quern__graph_error(p->graph)->where,
                        "%s", quern__graph_error(p->graph)->text);
    if (status < 0)
        return status;
    /* what the plan must keep: the outputs, or the loss */
    if (mode == QUERN__PREDICT)
        for (int i = 0; i < m->n_out; i++)
            outputs[n++] = p->outputs[i];
    if (p->loss)
        outputs[n++] = p->loss;
    status = mode == QUERN__TRAIN && m->low_memory >= QUERN__LOW_MEMORY_RECOMPUTE
                 ? recompute(m, p, outputs, n, err)
                 : QUERN_OK;
    if (status < 0)
        return status;
    return make_plan(m, mode, p, outputs, n, err);
}

int quern__model_make_room(quern_model *m, const quern__plan *plan, quern_error *err)
{
    if (plan->arena_bytes + 64 <= m->arena_bytes)
        return QUERN_OK;
    if (m->arena_limit && plan->arena_bytes > m->arena_limit)
        return quern__fail(err, QUERN_BUDGET, "memory",
                           "a batch with these sample weights needs %zu bytes, the plan has %zu",
                           plan->arena_bytes, m->arena_limit);
    void *arena = quern__alloc_large((plan->arena_bytes + 127) / 64 * 64);
    if (!arena)
        return quern__fail_memory(err, plan->arena_bytes);
    quern__free_aligned(m->arena);
    m->arena = arena;
    m->arena_bytes = plan->arena_bytes + 64;
    return QUERN_OK;
}

/* Plans a program for batches of up to `capacity` records. */
static int plan_program(quern_model *m, quern__mode mode, quern__program *p, int64_t capacity,
                        const quern__weighing *weighing, quern_error *err)
{
    quern__program_free(p);
    p->capacity = mode == QUERN__TRAIN && m->micro_batches.n
                      ? (capacity + m->micro_batches.n - 1) / m->micro_batches.n
                      : capacity;
    p->weighing = weighing ? *weighing : (quern__weighing){ 0 };
    p->closing = m->closing;
    int status = make_program(m, mode, p, err);
    if (status < 0)
        quern__program_free(p);
    return status;
}

int quern__model_plan(quern_model *m, quern__mode mode, int64_t capacity,
                      const quern__weighing *weighing, quern_error *err)
{
    quern__program *p = &m->programs[mode];
    static const quern__weighing none = { 0 };
    if (mode != QUERN__PREDICT && !m->optimizer)
        return quern__not_compiled(m, err);
    if (capacity < 1 || capacity > INT32_MAX)
        return quern__fail(err, QUERN_INVALID, "batch_size", "%lld is outside 1 … %d",
                           (long long)capacity, INT32_MAX);
    int threads = m->team ? QUERN_OK : quern_model_set_threads(m, m->threads, err);
    if (threads < 0)
        return threads;
    int taken = quern__model_take_program(m, mode, err);
    if (taken < 0)
        return taken;
    /* a program for at least this many records and the same kinds of weights is reused */
    int64_t parts = mode == QUERN__TRAIN && m->micro_batches.n ? m->micro_batches.n : 1;
    if (p->plan && p->capacity >= (capacity + parts - 1) / parts &&
        !memcmp(&p->weighing, weighing ? weighing : &none, sizeof none))
        return QUERN_OK;
    return plan_program(m, mode, p, capacity, weighing, err);
}

int quern__model_prepare(quern_model *m, quern__mode mode, int64_t capacity,
                         const quern__weighing *weighing, quern_error *err)
{
    int status = quern__model_plan(m, mode, capacity, weighing, err);
    if (status < 0)
        return status;
    return quern__model_make_room(m, m->programs[mode].plan, err);
}

void quern__model_set_low_memory(quern_model *m, int low_memory)
{
    if (m->low_memory != low_memory)
        for (int i = 0; i < QUERN__MODES; i++)
            quern__model_drop(m, (quern__mode)i);
    m->low_memory = low_memory;
}

int quern__model_value(quern_model *m, int value, bool whole, void *const *x, int64_t records,
                       int64_t capacity, quern_tensor *out, quern_error *err)
{
    quern__program *p = &m->inner;
    int status = !m->team ? quern_model_set_threads(m, m->threads, err) : QUERN_OK;
    if (status >= 0 &&
        (!p->plan || m->inner_value != value || m->inner_whole != whole || p->capacity < records)) {
        m->inner_value = value;
        m->inner_whole = whole;
        status = plan_program(m, QUERN__PREDICT, p, capacity, NULL, err);
        if (status >= 0)
            status = quern__model_make_room(m, p->plan, err);
    }
    /* run the program and read the value where the plan has put it */
    quern__step_run run = {
        .arena = m->arena, .arrays = x, .records = records, .seed = m->b->seed
    };
    if (status >= 0)
        status = quern__step(m->team, p->plan, &run, err);
    if (status < 0)
        return status;
    const quern__value *v = quern__graph_value(p->graph, p->outputs[0]);
    *out = (quern_tensor){ .dtype = v->dtype,
                           .shape = quern__shape_close(v->shape, records),
                           .data = quern__plan_address(p->plan, p->outputs[0], m->arena, x) };
    return QUERN_OK;
}

void quern__model_forget(quern_model *m) { quern__program_free(&m->inner); }

int quern__model_run(quern_model *m, quern__mode mode, void *const *arrays,
                     const quern__weighing *weighing, int64_t records, int64_t capacity,
                     int64_t epoch, int64_t first, quern_error *err)
{
    int status =
        quern__model_prepare(m, mode, capacity > records ? capacity : records, weighing, err);
    if (status < 0)
        return status;
    if (m->b->records && records != m->b->records && quern__model_has_fixed_batch(m))
        return quern__fail(err, QUERN_SHAPE, m->name, "a batch of %lld records, expected %lld",
                           (long long)records, (long long)m->b->records);
    if (mode == QUERN__TRAIN)
        quern__optimizer_prepare(m->optimizer);
    quern__step_run run = { .arena = m->arena,
                            .arrays = arrays,
                            .records = records,
                            .epoch = epoch,
                            .first = first,
                            .seed = m->b->seed,
                            .watch = m->watch,
                            .profile = quern__model_profile(m, mode) };
    if (mode == QUERN__TRAIN && m->micro_batches.n)
        return quern__micro_batches_run(m, &run, err);
    return quern__step(m->team, m->programs[mode].plan, &run, err);
}

void quern__model_reset(quern_model *m)
{
    for (int i = 0; i < m->n_means; i++)
        if (m->means[i].measure)
            quern__accumulator_reset(m->means[i].measure);
}

void quern__model_read_logs(const quern_model *m, double *logs)
{
    double results[QUERN__MAX_METRIC_RESULTS] = { 0 };
    for (int i = 0; i < m->n_means; i++) {
        const quern__accumulator *measure = m->means[i].measure;
        if (measure)
            quern__accumulator_results(measure, results);
        logs[i] = measure ? 0 : results[m->means[i].part - 1];
        if (measure)
            for (int k = 0; k < measure->n_results; k++)
                logs[i] += results[k] / measure->n_results;
    }
}

int quern__model_predict(quern_model *m, void *const *x, int64_t records, const float **out,
                         quern_error *err)
{
    int status = quern__model_run(m, QUERN__PREDICT, x, NULL, records, records, 0, 0, err);
    const quern__program *p = &m->programs[QUERN__PREDICT];
    for (int i = 0; status >= 0 && i < m->n_out; i++)
        out[i] = quern__plan_address(p->plan, p->outputs[i], m->arena, x);
    return status;
}
