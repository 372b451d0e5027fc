/* model: accessors of a model, its threads, its states and its destruction.
 *
 * A model owns its blueprint with all layers, compile settings, programs, arena and thread pool.
 * While a run is active the model cannot be freed, and while a run trains, other changes are
 * refused. */
#include "model_struct.h"
#include "schema/schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void quern_model_free(quern_model *m)
{
    if (!m)
        return;
    if (m->runs) {
        quern__warn("model '%s': is in use by a run and cannot be freed", m->name);
        return;
    }
    quern__uncompile(m);
    quern__program_free(&m->inner);
    quern__closings_free(m);
    quern__team_free(m->team);
    quern__free(m->profile.seconds);
    quern__free_aligned(m->arena);
    for (int i = 0; i < 3 * QUERN__MAX_IO; i++)
        quern__free(m->converted[i].numbers);
    quern_blueprint_free(m->b);
    quern_tokenizer_free(m->tokenizer);
    quern_schema_free(m->schema);
    for (int i = 0; i < m->n_members; i++) {
        quern__free(m->members[i].name);
        quern__free(m->members[i].bytes);
    }
    quern__free(m->members);
    json_decref(m->kept);
    json_decref(m->in_keys);
    json_decref(m->out_keys);
    quern__free(m->name);
    quern__free(m);
}

int quern__model_waits(const quern_model *m, const char *what, quern_error *err)
{
    if (!m->trains)
        return QUERN_OK;
    int status = quern__fail(err, QUERN_INVALID, m->name,
                             "%s is impossible while a run trains the model", what);
    quern__hint(err, "wait until quern_fit_generator returns");
    return status;
}

int quern_model_set_threads(quern_model *m, int threads, quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "model", m);
    quern__team *team = quern__team_new(threads, err);
    if (!team)
        return quern__leave(err, QUERN_INVALID);
    quern__team_free(m->team);
    m->team = team;
    m->threads = threads;
    return QUERN_OK;
}

void quern_model_set_seed(quern_model *m, uint64_t seed)
{
    if (m)
        m->b->seed = seed;
}

/* Sets the states of a layer and of its inner layers to 0 (stateful recurrent layers). */
static void reset_states(quern__layer *l)
{
    for (int i = 0; i < l->n_states; i++)
        memset(l->states[i]->data, 0,
               (size_t)quern_shape_count(&l->states[i]->shape) * sizeof(float));
    for (int i = 0; i < l->n_inner; i++)
        reset_states(l->inner[i]);
}

/* Whether a layer or an inner layer has states that persist between batches. */
static bool keeps_states(const quern__layer *l)
{
    bool keeps = l->n_states > 0;
    for (int i = 0; i < l->n_inner; i++)
        keeps = keeps || keeps_states(l->inner[i]);
    return keeps;
}

bool quern__model_has_fixed_batch(const quern_model *m)
{
    for (int k = 0; k < m->b->n; k++)
        if (m->b->nodes[k].layer->closed)
            return true;
    return quern_model_stateful(m);
}

int quern_model_stateful(const quern_model *m)
{
    if (!m)
        return 0;
    bool keeps = false;
    for (int k = 0; k < m->b->n; k++)
        keeps = keeps || keeps_states(m->b->nodes[k].layer);
    return keeps;
}

void quern_model_reset_states(quern_model *m)
{
    if (!m)
        return;
    for (int k = 0; k < m->b->n; k++)
        reset_states(m->b->nodes[k].layer);
}

const quern_schema *quern_model_schema(const quern_model *m) { return m ? m->schema : NULL; }

int quern_model_set_schema(quern_model *m, const quern_schema *s, quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "model", m);
    return quern__model_waits(m, "another schema", err) < 0 ? QUERN_INVALID
                                                            : quern__model_set_schema(m, s, err);
}

int quern__model_set_schema(quern_model *m, const quern_schema *s, quern_error *err)
{
    quern_schema *own = s ? quern__schema_copy(s, err) : NULL;
    if (s && !own)
        return QUERN_NOMEM;
    quern_schema_free(m->schema);
    m->schema = own;
    return QUERN_OK;
}

const quern_tokenizer *quern_model_tokenizer(const quern_model *m)
{
    return m ? m->tokenizer : NULL;
}

int quern_model_set_tokenizer(quern_model *m, const quern_tokenizer *t, quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "model", m);
    if (quern__model_waits(m, "another tokenizer", err) < 0)
        return QUERN_INVALID;
    size_t size = 0;
    char *json = t ? quern_tokenizer_json(t, &size, err) : NULL;
    quern_tokenizer *own = json ? quern_tokenizer_from_json(json, size, err) : NULL;
    free(json);
    if (t && !own)
        return quern__leave(err, QUERN_NOMEM);
    quern_tokenizer_free(m->tokenizer);
    m->tokenizer = own;
    return QUERN_OK;
}

/* ---- accessors ---- */

int quern_model_inputs(const quern_model *m) { return m ? m->n_in : 0; }
int quern_model_outputs(const quern_model *m) { return m ? m->n_out : 0; }
quern_shape quern_model_input_shape(const quern_model *m, int i)
{
    return m && i >= 0 && i < m->n_in ? *quern__tensor_shape(m->b, m->in[i]) : (quern_shape){ 0 };
}

int quern_model_input_dtype(const quern_model *m, int i)
{
    return m && i >= 0 && i < m->n_in ? quern__tensor_dtype(m->b, m->in[i]) : QUERN_DTYPE_DEFAULT;
}

quern_shape quern_model_output_shape(const quern_model *m, int i)
{
    return m && i >= 0 && i < m->n_out ? *quern__tensor_shape(m->b, m->out[i]) : (quern_shape){ 0 };
}

int quern_model_target(const quern_model *m, int i, quern_shape *shape)
{
    if (shape)
        *shape = (quern_shape){ 0 };
    if (!m || !shape || i < 0 || i >= m->n_out)
        return QUERN_DTYPE_DEFAULT;
    return quern__loss_target(m->loss_rows[i], quern__tensor_shape(m->b, m->out[i]), shape);
}

int quern_model_output_dtype(const quern_model *m, int i)
{
    return m && i >= 0 && i < m->n_out ? QUERN_FLOAT32 : 0;
}

const char *quern_model_input_name(const quern_model *m, int i)
{
    return m && i >= 0 && i < m->n_in ? quern__producer(m->b, m->in[i])->layer->name : NULL;
}

const char *quern_model_output_name(const quern_model *m, int i)
{
    if (!m || i < 0 || i >= m->n_out)
        return NULL;
    const char *key = json_string_value(json_array_get(m->out_keys, (size_t)i));
    return key ? key : quern__producer(m->b, m->out[i])->layer->name;
}

int quern_model_output_logits(const quern_model *m, int i)
{
    if (!m)
        return QUERN_LOGITS_NONE;
    if (i < 0 || i >= m->n_out || !m->loss_rows[i] ||
        !json_is_true(json_object_get(m->loss_configs[i], "from_logits")))
        return QUERN_LOGITS_NONE;
    return m->loss_rows[i]->means == QUERN_MEANS_BINARY ? QUERN_LOGITS_SIGMOID
                                                        : QUERN_LOGITS_SOFTMAX;
}

int quern_model_output_means(const quern_model *m, int i)
{
    int64_t classes, ignored;
    if (!m || i < 0 || i >= m->n_out || !m->loss_rows[i])
        return QUERN_MEANS_ANYTHING;
    quern_shape out = quern_model_output_shape(m, i);
    return quern__loss_means(m->loss_rows[i], m->loss_configs[i], &out, &classes, &ignored);
}

bool quern__model_log_rises(const quern_model *m, int i)
{
    while (!m->means[i].measure)
        i--;
    return m->means[i].measure->row && quern__metric_rises(m->means[i].measure->row);
}

int quern_model_logs(const quern_model *m) { return m ? m->n_means : 0; }
const char *quern_model_log_name(const quern_model *m, int i)
{
    return m && i >= 0 && i < m->n_means ? m->means[i].name : NULL;
}

void quern__layer_group(const quern_model *m, int node, char *out, size_t size)
{
    char base[96];
    int same = 0;
    const quern__layer *l = m->b->nodes[node].layer;
    for (int i = 0; i < node; i++)
        same += !m->b->nodes[i].again && m->b->nodes[i].layer->kind == l->kind;
    quern__snake_case(l->kind->name, base, sizeof base);
    snprintf(out, size, same ? "layers/%s_%d" : "layers/%s", base, same);
}

/* Counts `left` down over the states of a layer and its inner layers; returns the state at which it
 * reaches 0. */
static quern__variable *state_of(quern__layer *l, int *left)
{
    quern__variable *v = NULL;
    if (*left < l->n_states)
        return l->states[*left];
    *left -= l->n_states;
    for (int i = 0; i < l->n_inner && !v; i++)
        v = state_of(l->inner[i], left);
    return v;
}

quern__variable *quern__model_run_variable(quern_model *m, int i)
{
    for (int k = 0; k < m->n_means; k++) {
        quern__accumulator *own = m->means[k].measure;
        quern__variable *both[2] = { own ? own->total : NULL, own ? own->count : NULL };
        for (int which = 0; which < 2; which++)
            if (both[which] && i-- == 0)
                return both[which];
    }
    quern__variable *v = NULL;
    for (int k = 0; k < m->b->n && !v; k++)
        if (!m->b->nodes[k].again)
            v = state_of(m->b->nodes[k].layer, &i);
    return v;
}

quern__variable *quern__model_inexact_variable(const quern_model *m, int i)
{
    quern__variable *v = NULL;
    for (int k = 0; k < m->b->n && !v; k++)
        if (!m->b->nodes[k].again)
            v = quern__layer_inexact(m->b->nodes[k].layer, &i);
    return v;
}
