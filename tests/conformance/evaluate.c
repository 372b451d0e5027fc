/* A graph of one case, run once. */
#include "conformance.h"

#include <string.h>

int evaluation_begin(evaluation *e, int64_t records, quern_error *err)
{
    *e = (evaluation){ .graph = quern__graph_new(),
                       .records = records,
                       .team = quern__team_new(2, err) };
    return e->graph && e->team ? QUERN_OK : quern__fail_memory(err, sizeof *e);
}

/* The tensor as a variable, in float32 as in every graph. */
static quern__variable *hold(evaluation *e, const quern_tensor *t)
{
    int dtype = t->dtype == QUERN_FLOAT64 ? QUERN_FLOAT32 : t->dtype;
    quern_error err = { 0 };
    quern__variable *v = e->n_variables < MOST_MEMBERS
                             ? quern__variable_new("member", dtype, &t->shape, false, &err)
                             : NULL;
    if (!v)
        return NULL;
    e->variables[e->n_variables++] = v;
    quern_tensor to = { .dtype = dtype, .shape = t->shape, .data = v->data };
    for (int64_t i = 0; i < quern_shape_count(&t->shape); i++)
        quern__set(&to, i, quern__get(t, i));
    return v;
}

quern__id evaluation_constant(evaluation *e, const quern_tensor *t)
{
    quern__variable *v = hold(e, t);
    return v ? quern__graph_variable(e->graph, v)
             : quern__graph_fail(e->graph, QUERN_NOMEM, "too many members");
}

quern__id evaluation_leaf(evaluation *e, const quern_tensor *t)
{
    if (!e->records || t->shape.rank < 1 || t->shape.dims[0] != e->records)
        return evaluation_constant(e, t);
    quern__variable *v = hold(e, t);
    if (!v)
        return quern__graph_fail(e->graph, QUERN_NOMEM, "too many members");
    quern_shape open = t->shape;
    open.dims[0] = -1;
    e->arrays[e->n_slots] = v->data;
    return quern__graph_batch(e->graph, e->n_slots++, v->dtype, &open);
}

quern__id evaluation_seeded(evaluation *e, quern__id y, const quern_tensor *g)
{
    if (!y)
        return 0;
    bool open = quern__shape_of(e->graph, y)->rank && quern__shape_of(e->graph, y)->dims[0] < 0;
    quern__id seed = open ? evaluation_leaf(e, g) : evaluation_constant(e, g);
    return quern__reduce(e->graph, QUERN__SUM, quern__mul2(e->graph, y, seed), ~0u, false);
}

int evaluation_run(evaluation *e, const quern__id *ids, int n, quern_tensor *out, quern_error *err)
{
    quern__id wanted[MOST_OUTPUTS];
    int64_t records = e->records ? e->records : 1;
    int count = 0;
    const quern_error *sticky = quern__graph_error(e->graph);
    if (quern__graph_status(e->graph))
        return quern__fail(err, sticky->code, sticky->where, "%s", sticky->text);
    for (int i = 0; i < n; i++)
        if (ids[i])
            wanted[count++] = ids[i];
    e->plan = quern__plan_new(e->graph, wanted, count, records, err);
    e->arena = e->plan ? quern__alloc_aligned((e->plan->arena_bytes + 127) / 64 * 64, 64) : NULL;
    if (!e->arena)
        return quern__fail_memory(err, 1);
    quern__step_run run = { .arena = e->arena, .arrays = e->arrays, .records = records };
    int status = quern__step(e->team, e->plan, &run, err);
    for (int i = 0; status >= 0 && i < n; i++)
        if (ids[i]) {
            const quern__value *v = quern__graph_value(e->graph, ids[i]);
            out[i] =
                (quern_tensor){ .dtype = v->dtype,
                                .shape = quern__shape_close(v->shape, records),
                                .data = quern__plan_address(e->plan, ids[i], e->arena, e->arrays) };
        }
    return status;
}

void evaluation_end(evaluation *e)
{
    quern__plan_free(e->plan);
    quern__graph_free(e->graph);
    quern__free_aligned(e->arena);
    quern__team_free(e->team);
    for (int i = 0; i < e->n_variables; i++)
        quern__variable_free(e->variables[i]);
}
