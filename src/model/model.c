/* Compile, and the graphs: one each for training, testing and predicting, planned when first needed. */
#include "model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void program_free(quern__program *p)
{
    quern__plan_free(p->plan);
    quern__graph_free(p->graph);
    *p = (quern__program){ 0 };
}

/* Forgets what compile made. */
static void uncompile(quern_model *m)
{
    for (int i = 0; i < QUERN__MODES; i++)
        program_free(&m->programs[i]);
    for (int i = 0; i < m->n_means; i++) {
        quern__free(m->means[i].name);
        json_decref(m->means[i].config);
        quern__variable_free(m->means[i].total);
        quern__variable_free(m->means[i].count);
    }
    for (int i = 0; i < QUERN__MAX_IO; i++) {
        json_decref(m->loss_configs[i]);
        m->loss_configs[i] = NULL;
    }
    for (int i = 0; i < 3; i++) {
        quern__free(m->words[i]);
        m->words[i] = NULL;
    }
    quern__optimizer_free(m->optimizer);
    m->optimizer = NULL;
    m->n_means = 0;
}

void quern_model_free(quern_model *m)
{
    if (!m)
        return;
    uncompile(m);
    quern__team_free(m->team);
    quern__free_aligned(m->slab);
    quern_blueprint_free(m->b);
    quern__free(m->name);
    quern__free(m);
}

int quern_model_set_threads(quern_model *m, int threads, quern_error *err)
{
    quern__team *team = quern__team_new(threads, err);
    if (!team)
        return QUERN_INVALID;
    quern__team_free(m->team);
    m->team = team;
    m->threads = threads;
    return QUERN_OK;
}

/* ---- what it has ---- */

int quern_model_inputs(const quern_model *m) { return m->n_in; }
int quern_model_outputs(const quern_model *m) { return m->n_out; }
quern_shape quern_model_input_shape(const quern_model *m, int i) { return m->b->nodes[m->in[i]].shape; }
quern_shape quern_model_output_shape(const quern_model *m, int i) { return m->b->nodes[m->out[i]].shape; }
int quern_model_target(const quern_model *m, int i, quern_shape *shape)
{
    return quern__loss_target(m->loss_rows[i], &m->b->nodes[m->out[i]].shape, shape);
}
int quern_model_logs(const quern_model *m) { return m->n_means; }
const char *quern_model_log_name(const quern_model *m, int i) { return m->means[i].name; }

quern__variable *quern__model_variable(const quern_model *m, int i)
{
    for (int k = 0; k < m->b->n; k++) {
        const quern__layer *l = m->b->nodes[k].layer;
        if (i < l->n_weights)
            return l->weights[i];
        i -= l->n_weights;
    }
    return NULL;
}

int quern_model_weights(const quern_model *m)
{
    int n = 0;
    for (int k = 0; k < m->b->n; k++)
        n += m->b->nodes[k].layer->n_weights;
    return n;
}

quern_tensor quern_model_weight(const quern_model *m, int i, const char **path)
{
    quern__variable *v = quern__model_variable(m, i);
    if (path)
        *path = v->path;
    return (quern_tensor){ .dtype = v->dtype, .shape = v->shape, .data = v->data };
}

/* ---- compile ---- */

/* The k-th piece between commas that stand outside parentheses; false when there is none. */
static bool piece(const char *text, int k, char *out, size_t size)
{
    const char *start = text;
    for (int depth = 0;; text++) {
        depth += *text == '(' ? 1 : *text == ')' ? -1 : 0;
        if (*text && (*text != ',' || depth > 0))
            continue;
        if (k-- == 0) {
            start += strspn(start, " ");
            snprintf(out, size, "%.*s", (int)(text - start), start);
            return *out != 0;
        }
        if (!*text)
            return false;
        start = text + 1;
    }
}

static int add_mean(quern_model *m, const char *name, const quern__class *row, json_t *config, int output, quern_error *err)
{
    quern_shape scalar = { 0 };
    quern__mean *mean = &m->means[m->n_means++];
    *mean = (quern__mean){ .name = quern__strdup(name), .row = row, .config = config, .output = output };
    mean->total = quern__variable_new(name, QUERN_FLOAT64, &scalar, false, err);
    mean->count = quern__variable_new(name, QUERN_FLOAT64, &scalar, false, err);
    return mean->name && mean->total && mean->count ? QUERN_OK : QUERN_NOMEM;
}

static int add_metric(quern_model *m, const char *words, int output, quern_error *err)
{
    char name[96], full[400];
    json_t *config = NULL;
    quern_shape truth, prediction = quern_model_output_shape(m, output);
    quern_model_target(m, output, &truth);
    size_t n = strcspn(words, " ");
    snprintf(name, sizeof name, "%.*s", (int)n, words);
    snprintf(full, sizeof full, "%s%s", quern__metric_meaning(name, &truth, &prediction), words + n);
    const quern__class *row = quern__words(QUERN__METRIC, full, &config, err);
    if (!row)
        return QUERN_INVALID;
    if (m->n_means > QUERN__MAX_METRICS)
        return json_decref(config), quern__fail(err, QUERN_INVALID, "metrics", "more than %d", QUERN__MAX_METRICS);
    snprintf(full, sizeof full, m->n_out > 1 ? "%s_%s" : "%.0s%s", m->b->nodes[m->out[output]].layer->name, name);
    return add_mean(m, full, row, config, output, err);
}

static int set_losses(quern_model *m, const char *loss, quern_error *err)
{
    char words[300], other[300];
    for (int i = 0; i < m->n_out; i++) {
        bool own = piece(loss, i, words, sizeof words);
        if (!own && (i == 0 || piece(loss, 1, other, sizeof other)))
            return quern__fail(err, QUERN_INVALID, "loss", "%d outputs, but %d losses", m->n_out, i);
        m->loss_rows[i] = quern__words(QUERN__LOSS, words, &m->loss_configs[i], err);
        if (!m->loss_rows[i])
            return QUERN_INVALID;
    }
    return piece(loss, m->n_out, words, sizeof words)
               ? quern__fail(err, QUERN_INVALID, "loss", "more losses than outputs (%d)", m->n_out)
               : QUERN_OK;
}

static int set_optimizer(quern_model *m, const char *words, quern_error *err)
{
    json_t *config = NULL;
    const quern__class *row = quern__words(QUERN__OPTIMIZER, words, &config, err);
    int n = 0, all = quern_model_weights(m);
    quern__variable **trained = quern__zalloc((size_t)all + 1, sizeof *trained);
    for (int i = 0; trained && i < all; i++)
        if (quern__model_variable(m, i)->trainable)
            trained[n++] = quern__model_variable(m, i);
    m->optimizer = row && trained ? quern__optimizer_new(row, config, trained, n, err) : NULL;
    quern__free(trained);
    return m->optimizer ? QUERN_OK : QUERN_INVALID;
}

int quern_compile(quern_model *m, const char *optimizer, const char *loss, const char *metrics, quern_error *err)
{
    char words[300];
    uncompile(m);
    if (set_losses(m, loss, err) < 0 || add_mean(m, "loss", NULL, NULL, 0, err) < 0 || set_optimizer(m, optimizer, err) < 0) {
        uncompile(m);
        return err && err->code ? err->code : QUERN_INVALID;
    }
    for (int o = 0; o < m->n_out; o++)
        for (int k = 0; metrics && piece(metrics, k, words, sizeof words); k++)
            if (add_metric(m, words, o, err) < 0) {
                uncompile(m);
                return err && err->code ? err->code : QUERN_INVALID;
            }
    m->words[0] = quern__strdup(optimizer);
    m->words[1] = quern__strdup(loss);
    m->words[2] = quern__strdup(metrics ? metrics : "");
    return QUERN_OK;
}

/* ---- graphs ---- */

/* The layers' nodes; `penalty` gets the sum of what regularizers add, 0 for none. */
static int forward(quern_model *m, quern__graph *g, bool training, quern__id *outputs, quern__id *penalty, quern_error *err)
{
    quern_blueprint *b = m->b;
    quern__id *ids = quern__zalloc((size_t)b->n + 1, sizeof *ids), in[64];
    if (!ids)
        return quern__fail_memory(err, (size_t)b->n * sizeof *ids);
    for (int i = 0; i < m->n_in; i++)
        ids[m->in[i]] = quern__graph_batch(g, i, QUERN_FLOAT32, &b->nodes[m->in[i]].shape);
    for (int k = 0; k < b->n; k++) {
        quern__applied *node = &b->nodes[k];
        if (node->n_in == 0)
            continue;
        for (int i = 0; i < node->n_in; i++)
            in[i] = ids[node->in[i]];
        node->layer->penalty = 0;
        ids[k] = quern__layer_call(node->layer, g, in, node->n_in, training);
        if (node->layer->penalty)
            *penalty = *penalty ? quern__add2(g, *penalty, node->layer->penalty) : node->layer->penalty;
    }
    for (int i = 0; i < m->n_out; i++)
        outputs[i] = ids[m->out[i]];
    quern__free(ids);
    return QUERN_OK;
}

/* Loss, metrics, and when training gradients and the optimizer's step. */
static int backward(quern_model *m, quern__program *p, bool training, quern__id penalty, quern_error *err)
{
    quern__graph *g = p->graph;
    quern_shape open = { .rank = 1, .dims = { -1 } }, s;
    quern__id truth[QUERN__MAX_IO], weights[QUERN__MAX_IO] = { 0 }, loss = 0, d[512];
    for (int i = 0; i < m->n_out; i++) {
        int dtype = quern_model_target(m, i, &s);
        truth[i] = quern__graph_batch(g, m->n_in + i, dtype, &s);
        if (p->weighted)
            weights[i] = quern__graph_batch(g, m->n_in + m->n_out + i, QUERN_FLOAT32, &open);
        quern__graph_scope(g, "loss");
        quern__id own = quern__loss(g, m->loss_rows[i], m->loss_configs[i], truth[i], p->outputs[i], weights[i]);
        loss = loss ? quern__add2(g, loss, own) : own;
    }
    if (penalty)
        loss = quern__add2(g, loss, penalty);
    p->loss = loss;
    quern__graph_scope(g, "metrics");
    quern__id ones = quern__broadcast(g, quern__graph_constant(g, 1, QUERN_FLOAT64), &open),
              rows = quern__reduce(g, QUERN__SUM, ones, ~0u, false);
    quern__id part = quern__mul2(g, quern__cast(g, loss, QUERN_FLOAT64), rows);
    quern__assign(g, m->means[0].total, quern__add2(g, quern__graph_variable(g, m->means[0].total), part));
    quern__assign(g, m->means[0].count, quern__add2(g, quern__graph_variable(g, m->means[0].count), rows));
    for (int i = 1; i < m->n_means; i++)
        quern__metric(g, m->means[i].row, m->means[i].config, truth[m->means[i].output], p->outputs[m->means[i].output], 0,
                      m->means[i].total, m->means[i].count);
    if (!training)
        return QUERN_OK;
    quern__optimizer *o = m->optimizer;
    quern__id wrt[512];
    if (o->n > 512)
        return quern__fail(err, QUERN_UNSUPPORTED, m->name, "more than 512 trained weights");
    for (int k = 0; k < o->n; k++)
        wrt[k] = quern__graph_variable(g, o->trained[k]);
    int status = quern__gradients(g, loss, 0, wrt, o->n, d, err);
    if (status >= 0)
        quern__optimizer_nodes(o, g, d);
    return status;
}

static int make_program(quern_model *m, quern__mode mode, quern__program *p, quern_error *err)
{
    quern__id penalty = 0, outputs[QUERN__MAX_IO + 1];
    int n = 0;
    p->graph = quern__graph_new();
    int status = p->graph ? forward(m, p->graph, mode == QUERN__TRAIN, p->outputs, &penalty, err) : quern__fail_memory(err, 1);
    if (status >= 0 && mode != QUERN__PREDICT)
        status = backward(m, p, mode == QUERN__TRAIN, penalty, err);
    if (status >= 0 && quern__graph_status(p->graph))
        status = quern__fail(err, quern__graph_status(p->graph), quern__graph_error(p->graph)->where, "%s",
                             quern__graph_error(p->graph)->text);
    if (status < 0)
        return status;
    for (int i = 0; mode == QUERN__PREDICT && i < m->n_out; i++)
        outputs[n++] = p->outputs[i];
    if (p->loss)
        outputs[n++] = p->loss;
    p->plan = quern__plan_new(p->graph, outputs, n, p->capacity, err);
    return p->plan ? QUERN_OK : err && err->code ? err->code : QUERN_NOMEM;
}

int quern__model_prepare(quern_model *m, quern__mode mode, int64_t capacity, bool weighted, quern_error *err)
{
    quern__program *p = &m->programs[mode];
    if (mode != QUERN__PREDICT && !m->optimizer)
        return quern__fail(err, QUERN_INVALID, m->name, "the model is not compiled");
    if (capacity < 1 || capacity > INT32_MAX)
        return quern__fail(err, QUERN_INVALID, "batch_size", "%lld is outside 1 … %d", (long long)capacity, INT32_MAX);
    if (!m->team && quern_model_set_threads(m, m->threads, err) < 0)
        return QUERN_INVALID;
    if (p->plan && p->capacity >= capacity && p->weighted == weighted)
        return QUERN_OK;
    program_free(p);
    p->capacity = capacity;
    p->weighted = weighted;
    int status = make_program(m, mode, p, err);
    if (status >= 0 && p->plan->slab_bytes + 64 > m->slab_bytes) {
        void *slab = quern__alloc_aligned((p->plan->slab_bytes + 127) / 64 * 64, 64);
        if (slab) {
            quern__free_aligned(m->slab);
            m->slab = slab;
            m->slab_bytes = p->plan->slab_bytes + 64;
        } else
            status = quern__fail_memory(err, p->plan->slab_bytes);
    }
    if (status < 0)
        program_free(p);
    return status;
}

int quern__model_run(quern_model *m, quern__mode mode, void *const *arrays, bool weighted, int64_t records, int64_t capacity,
                     int64_t epoch, int64_t first, quern_error *err)
{
    int status = quern__model_prepare(m, mode, capacity > records ? capacity : records, weighted, err);
    if (status < 0)
        return status;
    quern__step_run run = {
        .slab = m->slab, .arrays = arrays, .records = records, .epoch = epoch, .first = first, .seed = m->b->seed
    };
    return quern__step(m->team, m->programs[mode].plan, &run, err);
}

void quern__model_reset(quern_model *m)
{
    for (int i = 0; i < m->n_means; i++)
        *(double *)m->means[i].total->data = *(double *)m->means[i].count->data = 0;
}

void quern__model_read_logs(const quern_model *m, double *logs)
{
    for (int i = 0; i < m->n_means; i++)
        logs[i] = quern__metric_result(m->means[i].row, *(double *)m->means[i].total->data, *(double *)m->means[i].count->data);
}

static int on_batch(quern_model *m, quern__mode mode, void *const *x, void *const *y, void *const *w, int64_t records, double *logs,
                    quern_error *err)
{
    void *arrays[3 * QUERN__MAX_IO];
    memcpy(arrays, x, (size_t)m->n_in * sizeof *x);
    memcpy(arrays + m->n_in, y, (size_t)m->n_out * sizeof *y);
    if (w)
        memcpy(arrays + m->n_in + m->n_out, w, (size_t)m->n_out * sizeof *w);
    quern__model_reset(m);
    int status = quern__model_run(m, mode, arrays, w != NULL, records, records, 0, 0, err);
    if (status >= 0 && logs)
        quern__model_read_logs(m, logs);
    return status;
}

int quern_train_on_batch(quern_model *m, void *const *x, void *const *y, void *const *w, int64_t records, double *logs,
                         quern_error *err)
{
    return on_batch(m, QUERN__TRAIN, x, y, w, records, logs, err);
}

int quern_test_on_batch(quern_model *m, void *const *x, void *const *y, void *const *w, int64_t records, double *logs,
                        quern_error *err)
{
    return on_batch(m, QUERN__TEST, x, y, w, records, logs, err);
}

int quern_predict_on_batch(quern_model *m, void *const *x, int64_t records, const float **out, quern_error *err)
{
    int status = quern__model_run(m, QUERN__PREDICT, x, false, records, records, 0, 0, err);
    const quern__program *p = &m->programs[QUERN__PREDICT];
    for (int i = 0; status >= 0 && i < m->n_out; i++)
        out[i] = quern__plan_address(p->plan, p->outputs[i], m->slab, x);
    return status;
}

char *quern_model_summary(const quern_model *m)
{
    quern__text t = { 0 };
    char shape[96], title[160];
    long long params = 0, trained = 0;
    quern__text_add(&t, "Model: \"%s\"\n%-34s %-24s %12s\n", m->name, "Layer (type)", "Output Shape", "Param #");
    for (int k = 0; k < m->b->n; k++) {
        const quern__applied *node = &m->b->nodes[k];
        long long own = 0;
        for (int i = 0; i < node->layer->n_weights; i++) {
            own += quern_shape_count(&node->layer->weights[i]->shape);
            trained += node->layer->weights[i]->trainable ? quern_shape_count(&node->layer->weights[i]->shape) : 0;
        }
        params += own;
        snprintf(title, sizeof title, "%s (%s)", node->layer->name, node->layer->kind->name);
        quern__text_add(&t, "%-34s %-24s %12lld\n", title, quern_shape_text(&node->shape, shape, sizeof shape), own);
    }
    quern__text_add(&t, "Total params: %lld\nTrainable params: %lld\nNon-trainable params: %lld\n", params, trained,
                    params - trained);
    char *out = t.failed ? NULL : strdup(t.data);
    quern__text_free(&t);
    return out;
}
