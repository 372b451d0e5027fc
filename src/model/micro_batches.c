/* micro_batches: gradient accumulation over micro-batches, the last measure against a memory limit.
 * Each micro-batch runs through the forward and backward pass, its gradients are added to the sums
 * in a fixed order, and the optimizer runs after the last one.
 *
 * The loss of a batch is the mean over its records, so a micro-batch counts by its share of the
 * records, and results differ by rounding only. A model in which the batch is more than independent
 * records is not divided: quern__micro_batches_loss, quern__micro_batches_layers and
 * quern__micro_batches_optimizer store the first reason in program->whole.
 *
 * There is one plan for all micro-batches. Three scalar variables, written before each step,
 * distinguish them: `share` scales the loss, `first` starts the sums, and `last` is the gate of the
 * optimizer's nodes. */
#include "model_struct.h"

#include <stdio.h>
#include <string.h>

/* Stores the first reason against micro-batches. */
static void refuse(quern__program *p, const char *who, const char *why)
{
    if (!*p->whole)
        snprintf(p->whole, sizeof p->whole, "%s %s", who, why);
}

/* Refuses a loss that is not the mean over the records of the batch. */
void quern__micro_batches_loss(const quern_model *m, quern__program *p, int output, quern__id loss)
{
    const char *reduction = quern__config_text(m->loss_configs[output], "reduction");
    const quern__node *node =
        loss && quern__graph_value(p->graph, loss)->kind == QUERN__VALUE_NODE
            ? quern__graph_node_at(p->graph, quern__graph_value(p->graph, loss)->node)
            : NULL;
    if (!loss)
        return;
    bool mean =
        !reduction || !strcmp(reduction, "sum_over_batch_size") || !strcmp(reduction, "mean");
    bool records = node && node->op == &quern__op_reduce &&
                   quern__shape_of(p->graph, node->in[0])->dims[0] < 0;
    json_t *ignored = json_object_get(m->loss_configs[output], "ignore_class");
    bool leaves_out = m->loss_rows[output]->valid && !json_is_null(ignored);
    if (p->masks[output] || leaves_out)
        refuse(p, m->loss_rows[output]->name, "counts unmasked values of the whole batch");
    else if (!mean || !records)
        refuse(p, m->loss_rows[output]->name, "is not a mean over records");
}

/* Refuses layers that read several records, or keep a state between batches. */
void quern__micro_batches_layers(const quern_model *m, quern__program *p, int n_nodes)
{
    if (m->b->records && quern__model_has_fixed_batch(m))
        refuse(p, m->name, "has a fixed batch size");
    if (!m->micro_batches.any)
        for (int n = 0; n < n_nodes; n++) {
            const quern__node *node = quern__graph_node_at(p->graph, n);
            /* a node from (B, …) to a fixed first dimension reads several records */
            bool open = false, closed = false;
            for (int i = 0; i < node->n_in; i++) {
                const quern_shape *s = quern__shape_of(p->graph, node->in[i]);
                open = open || (s->rank && s->dims[0] < 0);
            }
            for (int k = 0; k < node->n_out; k++) {
                const quern_shape *s = quern__shape_of(p->graph, node->out[k]);
                closed = closed || !s->rank || s->dims[0] >= 0;
            }
            if (open && closed)
                refuse(p, node->scope, "reads all records of a batch together");
            else if (node->op->updates)
                refuse(p, node->scope, "updates its state with every batch");
        }
}

/* ---- variables ---- */

/* Frees the variables of gradient accumulation; `any` stays. */
static void free_sums(quern_model *m)
{
    quern__micro_batches *p = &m->micro_batches;
    if (p->sums)
        for (int k = 0; k < 2 * p->n_sums; k++)
            quern__variable_free(p->sums[k]);
    quern__free(p->sums);
    quern__variable_free(p->share);
    quern__variable_free(p->first);
    quern__variable_free(p->last);
    *p = (quern__micro_batches){ .any = p->any };
}

/* A variable of zeros like the trained one, for the sum of its gradients or their squares. */
static quern__variable *sum_of(const quern__variable *trained, const char *what, quern_error *err)
{
    char path[256];
    snprintf(path, sizeof path, "micro_batches/%s_%s", trained->path, what);
    return quern__variable_new(path, trained->dtype, &trained->shape, false, err);
}

int quern__model_set_micro_batches(quern_model *m, int64_t n, bool any, quern_error *err)
{
    quern__micro_batches *p = &m->micro_batches;
    quern_shape scalar = { 0 };
    if ((p->n ? p->n : 1) == n && p->any == any)
        return QUERN_OK;
    quern__model_drop(m, QUERN__TRAIN);
    free_sums(m);
    p->any = any;
    if (n < 2)
        return QUERN_OK;
    p->n_sums = m->optimizer->n;
    p->sums = quern__zalloc(2 * (size_t)p->n_sums + 1, sizeof *p->sums);
    p->share = quern__variable_new("micro_batches/share", QUERN_FLOAT32, &scalar, false, err);
    p->first = quern__variable_new("micro_batches/first", QUERN_FLOAT32, &scalar, false, err);
    p->last = quern__variable_new("micro_batches/last", QUERN_FLOAT32, &scalar, false, err);
    bool ok = p->sums && p->share && p->first && p->last;
    for (int k = 0; k < p->n_sums && ok; k++)
        ok = (p->sums[k] = sum_of(m->optimizer->trained[k], "sum", err)) != NULL;
    p->n = ok ? n : 0;
    return ok ? QUERN_OK : quern__fail_memory(err, (size_t)p->n_sums * sizeof *p->sums);
}

size_t quern__micro_batches_bytes(const quern_model *m)
{
    size_t all = 0, bytes;
    for (int k = 0; k < 2 * m->micro_batches.n_sums; k++)
        if (m->micro_batches.sums[k] && quern__shape_bytes(&m->micro_batches.sums[k]->shape,
                                                           m->micro_batches.sums[k]->dtype, &bytes))
            all += bytes;
    return all;
}

/* ---- nodes ---- */

/* Adds this micro-batch's gradient to the sum; the first micro-batch sets it. */
static quern__id added(const quern_model *m, quern__graph *g, quern__variable *sum, quern__id one)
{
    quern__id before = quern__graph_variable(g, sum);
    return quern__assign(g, sum,
                         quern__select(g, quern__graph_variable(g, m->micro_batches.first), one,
                                       quern__add2(g, before, one)));
}

int quern__micro_batches_add(quern_model *m, quern__graph *g, quern__id *gradients,
                             quern_error *err)
{
    quern__micro_batches *p = &m->micro_batches;
    quern__optimizer *o = m->optimizer;
    quern__graph_scope(g, "micro_batches");
    for (int k = 0; k < o->n; k++) {
        if (!gradients[k])
            continue;
        quern__id squares = o->sums_rows ? 0 : quern__squares(o, g, k, gradients[k]);
        if (squares && !p->sums[p->n_sums + k] &&
            !(p->sums[p->n_sums + k] = sum_of(o->trained[k], "squares", err)))
            return QUERN_NOMEM;
        gradients[k] = added(m, g, p->sums[k], gradients[k]);
        o->squares[k] = squares ? added(m, g, p->sums[p->n_sums + k], squares) : 0;
    }
    /* the optimizer runs in the last micro-batch only */
    quern__graph_gate(g, quern__binary(g, QUERN__NOT_EQUAL, quern__graph_variable(g, p->last),
                                       quern__graph_constant(g, 0, QUERN_FLOAT32)));
    quern__optimizer_nodes(o, g, gradients);
    quern__graph_gate(g, 0);
    memset(o->squares, 0, (size_t)o->n * sizeof *o->squares);
    return QUERN_OK;
}

/* Refuses optimizers that need more of the gradients than their sum. */
void quern__micro_batches_optimizer(const quern_model *m, quern__program *p,
                                    const quern__id *gradients)
{
    const quern__optimizer *o = m->optimizer;
    bool clips = quern__optimizer_clips(o);
    if (o->kind->wrap)
        refuse(p, o->kind->name, "has inner optimizers");
    if (clips)
        for (int k = 0; k < o->n; k++)
            if (gradients[k] && quern__scattered(p->graph, gradients[k]))
                refuse(p, o->kind->name, "clips the rows of an embedding one by one");
}

/* ---- running ---- */

/* The addresses of the arrays from record `first` on. */
static void record_addresses(const quern_model *m, const quern__program *p, void *const *arrays,
                             int64_t first, void **out)
{
    int n = m->n_in + m->n_out;
    memset(out, 0, 3 * QUERN__MAX_IO * sizeof *out);
    for (int i = 0; i < n; i++) {
        quern_shape s;
        int dtype = i < m->n_in ? quern__tensor_dtype(m->b, m->in[i])
                                : quern_model_target(m, i - m->n_in, &s);
        s = i < m->n_in ? *quern__tensor_shape(m->b, m->in[i]) : s;
        s.dims[0] = 1;
        out[i] = (char *)arrays[i] +
                 (size_t)first * (size_t)quern_shape_count(&s) * quern_dtype_size(dtype);
    }
    for (int i = 0; i < m->n_out; i++)
        if (p->weighing.of[i]) {
            quern_shape s =
                quern__shape_close(quern__model_weights_shape(m, i, p->weighing.of[i]), 1);
            out[n + i] = (char *)arrays[n + i] +
                         (size_t)first * (size_t)quern_shape_count(&s) * sizeof(float);
        }
}

int quern__micro_batches_run(quern_model *m, const quern__step_run *whole, quern_error *err)
{
    quern__program *p = &m->programs[QUERN__TRAIN];
    void *arrays[3 * QUERN__MAX_IO];
    int status = QUERN_OK;
    for (int64_t first = 0; first < whole->records && status >= 0; first += p->capacity) {
        quern__step_run run = *whole;
        run.records = whole->records - first < p->capacity ? whole->records - first : p->capacity;
        run.first = whole->first + first;
        run.arrays = arrays;
        record_addresses(m, p, whole->arrays, first, arrays);
        *(float *)m->micro_batches.share->data =
            (float)((double)run.records / (double)whole->records);
        *(float *)m->micro_batches.first->data = first == 0;
        *(float *)m->micro_batches.last->data = first + run.records == whole->records;
        status = quern__step(m->team, p->plan, &run, err);
    }
    return status;
}
