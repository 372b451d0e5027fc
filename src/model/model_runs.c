/* model_runs: what runs of modules fit and generate ask of a model. */
#include "model_struct.h"

#include <string.h>

const char *quern__model_name(const quern_model *m) { return m->name; }
bool quern__model_compiled(const quern_model *m) { return m->optimizer != NULL; }
quern__optimizer *quern__model_optimizer(const quern_model *m) { return m->optimizer; }
uint64_t quern__model_seed(const quern_model *m) { return m->b->seed; }
int64_t quern__model_records(const quern_model *m) { return m->b->records; }

void quern__model_spec(const quern_model *m, quern__mode mode, int64_t batch_size,
                       quern_batch_spec *spec)
{
    *spec = (quern_batch_spec){ .n_inputs = m->n_in,
                                .n_targets = mode == QUERN__PREDICT ? 0 : m->n_out,
                                .batch_size = batch_size ? batch_size : 32,
                                .schema = m->schema };
    if (!batch_size && m->b->records)
        spec->batch_size = m->b->records;
    for (int i = 0; i < m->n_in; i++) {
        spec->shapes[i] = quern_model_input_shape(m, i);
        spec->dtypes[i] = quern__tensor_dtype(m->b, m->in[i]);
        spec->names[i] = quern__producer(m->b, m->in[i])->layer->name;
        spec->open[i] = quern_model_input_open(m, i);
    }
    for (int i = 0; i < spec->n_targets; i++) {
        quern_shape out = quern_model_output_shape(m, i);
        spec->names[m->n_in + i] = quern__producer(m->b, m->out[i])->layer->name;
        spec->dtypes[m->n_in + i] = quern_model_target(m, i, &spec->shapes[m->n_in + i]);
        spec->means[i] = quern__loss_means(m->loss_rows[i], m->loss_configs[i], &out,
                                           &spec->classes[i], &spec->ignored[i]);
        spec->weights[i] = quern__model_weights_shape(m, i, QUERN_WEIGHTS_STEPS);
        /* a target has the axes of its output, with or without the last one */
        spec->open[m->n_in + i] =
            m->b->values[m->out[i]].open & ((1u << spec->shapes[m->n_in + i].rank) - 1) & ~1u;
    }
}

/* ---- runs ---- */

void quern__model_run_begin(quern_model *m, bool trains)
{
    m->runs++;
    m->trains = m->trains || trains;
}

void quern__model_run_end(quern_model *m, bool trains)
{
    m->runs--;
    if (trains)
        m->trains = m->sums = false;
}

bool quern__model_in_use(const quern_model *m) { return m->runs > 0; }

void quern__model_set_totals_in_use(quern_model *m, bool in_use) { m->sums = in_use; }
bool quern__model_totals_in_use(const quern_model *m) { return m->sums; }

void *quern__model_run_array(quern_model *m, int i, size_t *bytes)
{
    int n = 0;
    quern__variable *v = quern__model_run_variable(m, i);
    while (!v && quern__model_run_variable(m, n))
        n++;
    if (!v)
        v = quern__model_inexact_variable(m, i - n);
    return v && quern__shape_bytes(&v->shape, v->dtype, bytes) ? quern__variable_numbers(v) : NULL;
}

size_t quern__model_copy_totals(quern_model *m, char *kept, bool back)
{
    size_t at = 0, bytes;
    quern__variable *v;
    for (int i = 0; (v = quern__model_run_variable(m, i)) != NULL; i++) {
        if (!quern__shape_bytes(&v->shape, v->dtype, &bytes))
            continue;
        if (kept)
            memcpy(back ? (char *)quern__variable_numbers(v) : kept + at,
                   back ? kept + at : (char *)quern__variable_numbers(v), bytes);
        at += bytes;
    }
    return at;
}

double quern__model_loss_total(const quern_model *m)
{
    return *(const double *)m->means[0].measure->total->data;
}

quern__weighing quern__model_weighing(const quern_model *m, quern__mode mode)
{
    return m->programs[mode].weighing;
}

int quern__model_start_threads(quern_model *m, quern_error *err)
{
    return m->team ? QUERN_OK : quern_model_set_threads(m, m->threads, err);
}

int quern__model_threads(const quern_model *m) { return m->threads; }

/* ---- plans ---- */

int64_t quern__model_micro_batches(const quern_model *m)
{
    return m->micro_batches.n ? m->micro_batches.n : 1;
}
const char *quern__model_undivided(const quern_model *m) { return m->programs[QUERN__TRAIN].whole; }

quern__plan_size quern__model_plan_size(const quern_model *m, quern__mode mode)
{
    const quern__plan *p = m->programs[mode].plan;
    if (!p)
        return (quern__plan_size){ 0 };
    return (quern__plan_size){ .arena = p->arena_bytes,
                               .lower_bound = p->lower_bound_bytes,
                               .gradients = p->gradient_bytes,
                               .stack = p->stack_bytes,
                               .seconds = p->seconds,
                               .recomputes = m->programs[mode].recomputed };
}

int quern__model_live(const quern_model *m, size_t *live, int capacity)
{
    const quern__plan *p = m->programs[QUERN__TRAIN].plan;
    if (!p)
        return 0;
    for (int i = 0; i < p->n_phases && i < capacity; i++)
        live[i] = p->live[i];
    return p->n_phases;
}

size_t quern__model_arena_bytes(const quern_model *m) { return m->arena_bytes; }
void quern__model_limit_arena(quern_model *m, size_t bytes) { m->arena_limit = bytes; }

/* ---- layers and outputs ---- */

int quern__model_calls(const quern_model *m) { return m->b->n; }

quern__layer *quern__model_layer_of_call(const quern_model *m, int k)
{
    return m->b->nodes[k].again ? NULL : m->b->nodes[k].layer;
}

int quern__model_layer_input(quern_model *m, int k, void *const *x, int64_t records,
                             int64_t capacity, quern_tensor *out, quern_error *err)
{
    const quern__call_node *node = &m->b->nodes[k];
    return quern__model_value(m, node->in[0], node->layer->kind->whole, x, records, capacity, out,
                              err);
}

int quern__model_forward_output(quern_model *m, quern__graph *g, quern__stepping *stepping,
                                quern__id *y, quern_error *err)
{
    int n = m->b->n_values;
    quern__id penalty = 0, *ids = quern__zalloc(2 * (size_t)n, sizeof *ids);
    if (!ids)
        return quern__fail_memory(err, (size_t)n * sizeof *ids);
    quern__model_forward(m, g, false, stepping, ids, ids + n, &penalty);
    *y = ids[m->out[0]];
    quern__free(ids);
    return QUERN_OK;
}

int quern__model_run_plan(quern_model *m, quern__plan *plan, quern__id y, void *const *arrays,
                          int64_t records, const float **out, quern_error *err)
{
    quern__step_run r = {
        .arena = m->arena, .arrays = arrays, .records = records, .seed = m->b->seed
    };
    int status = quern__step(m->team, plan, &r, err);
    *out = quern__plan_address(plan, y, m->arena, arrays);
    return status;
}
