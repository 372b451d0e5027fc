/* Incremental decoding: feeds a model token by token and keeps its states (B texts, T steps of the
 * window, V tokens of the vocabulary).
 *
 * Two programs share the states: one of 32 steps for prompts, and one of a single step. A model
 * with a layer that needs later steps or its whole window has one program over the window (B, T)
 * instead. It runs again for every token. A final softmax is removed, because the caller needs
 * logits.
 *
 * The states are variables that the layers request while a program is built (quern__stepping): keys
 * and values of attention, states of recurrent layers. Both programs request them in the same
 * order, so they get the same variables. `position` is a scalar variable with the number of steps
 * since the last reset.
 *
 * `past` has the last T tokens of each text. When a context is full, the decoder stops, or forgets
 * the states and feeds the newer half of `past` again. */
#include "model/model.h"

#include <quern/generate.h>
#include <string.h>

enum { chunk_steps = 32 };

/* A graph whose output is the logits, and its plan. */
typedef struct program {
    quern__graph *graph;
    quern__plan *plan;
    quern__id logits;
} program;

struct quern_decoder {
    quern_model *m;
    int64_t texts, vocabulary, window,
        width; /* window: steps of the model's input; width: numbers per token, 1 or V (one-hot) */
    int tokens, positions; /* indices of the inputs; -1: none */
    int on_full;
    bool limited; /* the context is limited to `window` tokens */
    const char *hindrance;
    quern__stepping stepping;
    program step, chunk, whole;
    int64_t position, n_past; /* steps since the states were reset; tokens in `past` */
    int32_t *past;            /* (texts, window): the last tokens */
    void *x, *p;              /* inputs of a run, in the types of the model */
    float *logits;            /* (texts, V): logits of the last token, for a whole window */
    char *scratch;            /* buffer of quern_decoder_reorder */
};

/* ---- programs ---- */

static void program_free(program *p)
{
    quern__plan_free(p->plan);
    quern__graph_free(p->graph);
    *p = (program){ 0 };
}

/* The input of a final softmax, across reshapes; 0: the model does not end with a softmax. */
static quern__id without_softmax(const quern__graph *g, quern__id y)
{
    for (const quern__value *v = y ? quern__graph_value(g, y) : NULL;
         v && v->kind == QUERN__VALUE_NODE; v = quern__graph_value(g, y)) {
        const quern__node *n = quern__graph_node_at(g, v->node);
        if (n->op != &quern__op_softmax && n->op != &quern__op_reshape)
            break;
        if (n->op == &quern__op_softmax)
            return n->in[0];
        y = n->in[0];
    }
    return 0;
}

/* (B, T, V) to (B, V): the last step. */
static quern__id last_step(quern__graph *g, quern__id y)
{
    quern_shape s = *quern__shape_of(g, y), one = { .rank = 2, .dims = { s.dims[0], s.dims[2] } };
    return quern__reshape(g, quern__slice(g, y, 1, s.dims[1] - 1, 1), &one);
}

/* Builds and plans the program for `steps` steps (0: the whole window). QUERN_END: a layer
 * cannot run in steps; its name is in stepping.refused. */
static int make_program(quern_decoder *s, program *p, int64_t steps, quern_error *err)
{
    quern_model *m = s->m;
    quern__id y = 0;
    p->graph = quern__graph_new();
    if (!p->graph)
        return quern__fail_memory(err, sizeof *p);
    s->stepping.steps = steps;
    s->stepping.asked = 0;
    s->stepping.refused = NULL;
    int status = quern__model_forward_output(m, p->graph, steps ? &s->stepping : NULL, &y, err);
    if (status < 0)
        return status;
    quern__id logits = without_softmax(p->graph, y);
    y = logits ? logits : y;
    if (steps && y && quern__shape_of(p->graph, y)->rank == 3)
        y = last_step(p->graph, y);
    p->logits = y;
    if (steps && s->stepping.refused) /* the graph after that layer may be invalid */
        return QUERN_END;
    if (quern__graph_status(p->graph))
        return quern__fail(err, quern__graph_status(p->graph), quern__graph_error(p->graph)->where,
                           "%s", quern__graph_error(p->graph)->text);
    p->plan = quern__plan_new(p->graph, &p->logits, 1, s->texts, err);
    return p->plan ? quern__model_make_room(m, p->plan, err) : QUERN_NOMEM;
}

/* Whether the graph of the single step reads the number of previous steps. */
static bool reads_position(const quern_decoder *s)
{
    const quern__graph *g = s->step.graph;
    for (int k = 0; k < quern__graph_nodes(g); k++) {
        const quern__node *n = quern__graph_node_at(g, k);
        for (int i = 0; i < n->n_in; i++)
            if (quern__graph_value(g, n->in[i])->variable == s->stepping.position)
                return true;
    }
    return false;
}

/* Tries the two programs; a layer that refuses steps leads to the program over the window. */
static int make_programs(quern_decoder *s, quern_error *err)
{
    int status = make_program(s, &s->step, 1, err);
    if (status == QUERN_OK && s->window >= chunk_steps)
        status = make_program(s, &s->chunk, chunk_steps, err);
    if (status < 0)
        return status;
    if (status == QUERN_OK) {
        s->limited = s->positions >= 0 || reads_position(s);
        return QUERN_OK;
    }
    s->hindrance = s->stepping.refused;
    s->limited = true;
    program_free(&s->step);
    return make_program(s, &s->whole, 0, err);
}

/* ---- creation ---- */

/* Determines the inputs of tokens and positions, and the sizes. */
static int decoder_read_model(quern_decoder *s, quern_error *err)
{
    const quern_model *m = s->m;
    char text[96];
    s->tokens = s->positions = -1;
    int n = quern_model_inputs(m);
    for (int i = 0; i < n; i++) {
        if (strstr(quern_model_input_name(m, i), "position"))
            s->positions = i;
        else
            s->tokens = i;
    }
    if (n > 2 || quern_model_outputs(m) != 1 || s->tokens < 0 || (n == 2 && s->positions < 0))
        return quern__fail(err, QUERN_UNSUPPORTED, quern__model_name(m),
                           "a language model needs one input of tokens (optionally one of "
                           "positions) and one output");
    quern_shape in = quern_model_input_shape(m, s->tokens), out = quern_model_output_shape(m, 0);
    s->vocabulary = out.dims[out.rank - 1];
    s->window = in.dims[1];
    s->width = in.rank == 3 ? in.dims[2] : 1;
    bool fits = (in.rank == 2 || (in.rank == 3 && in.dims[2] == s->vocabulary)) && in.dims[1] > 0 &&
                out.rank >= 2 && out.rank <= 3 && (out.rank == 2 || out.dims[1] == in.dims[1]);
    return fits ? QUERN_OK
                : quern__fail(err, QUERN_SHAPE, quern__model_name(m),
                              "input shape %s does not fit tokens of a language model",
                              quern_shape_text(&in, text, sizeof text));
}

quern_decoder *quern_decoder_new(quern_model *m, int64_t texts, int on_full, quern_error *err)
{
    QUERN__ENTER(err, NULL, "model", m);
    quern_decoder *s = quern__zalloc(1, sizeof *s);
    quern_shape scalar = { 0 };
    int status = s ? QUERN_OK : quern__fail_memory(err, sizeof *s);
    if (status >= 0 && (texts < 1 || texts > 1 << 16))
        status =
            quern__fail(err, QUERN_INVALID, "texts", "%lld is outside 1 … 65536", (long long)texts);
    if (status >= 0) {
        s->m = m;
        s->texts = texts;
        s->on_full = on_full;
        status = decoder_read_model(s, err);
    }
    if (status >= 0) {
        /* inputs for the longest run, in the widest dtype */
        size_t most = (size_t)(s->window > chunk_steps ? s->window : chunk_steps),
               rows = (size_t)texts * most;
        s->stepping.texts = texts;
        s->stepping.context = s->window;
        s->stepping.position = quern__variable_new("position", QUERN_FLOAT32, &scalar, false, err);
        s->past = quern__zalloc(rows, sizeof *s->past);
        s->x = quern__zalloc(rows, (size_t)s->width * sizeof(int64_t));
        s->p = quern__zalloc(rows, sizeof(int64_t));
        s->logits = quern__zalloc((size_t)texts, (size_t)s->vocabulary * sizeof *s->logits);
        status = s->stepping.position && s->past && s->x && s->p && s->logits
                     ? QUERN_OK
                     : quern__fail_memory(err, rows);
    }
    if (status >= 0)
        status = quern__model_start_threads(m, err);
    if (status >= 0)
        status = make_programs(s, err);
    if (status >= 0)
        return s;
    quern_decoder_free(s);
    return NULL;
}

void quern_decoder_free(quern_decoder *s)
{
    if (!s)
        return;
    program_free(&s->step);
    program_free(&s->chunk);
    program_free(&s->whole);
    quern__variable_free(s->stepping.position);
    for (int i = 0; i < s->stepping.n_states; i++)
        quern__variable_free(s->stepping.states[i]);
    quern__free(s->past);
    quern__free(s->x);
    quern__free(s->p);
    quern__free(s->logits);
    quern__free(s->scratch);
    quern__free(s);
}

int64_t quern_decoder_vocabulary(const quern_decoder *s) { return s ? s->vocabulary : 0; }
int64_t quern_decoder_context(const quern_decoder *s) { return s && s->limited ? s->window : 0; }
const char *quern_decoder_blocking_layer(const quern_decoder *s) { return s ? s->hindrance : NULL; }

/* ---- feeding ---- */

/* Bytes of one text in a state (B, …). */
static size_t row_bytes(const quern__variable *v, int64_t texts)
{
    return (size_t)(quern_shape_count(&v->shape) / texts) * sizeof(float);
}

/* Sets the states to 0, as at the start of a text. */
static void forget_states(quern_decoder *s)
{
    for (int i = 0; i < s->stepping.n_states; i++)
        memset(s->stepping.states[i]->data, 0,
               row_bytes(s->stepping.states[i], s->texts) * (size_t)s->texts);
    s->position = 0;
}

void quern_decoder_reset(quern_decoder *s)
{
    if (!s)
        return;
    forget_states(s);
    s->n_past = 0;
}

int quern_decoder_reorder(quern_decoder *s, const int32_t *from, quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "decoder", s, "from", from);
    size_t most = (size_t)s->window * sizeof *s->past;
    for (int i = 0; i < s->stepping.n_states; i++)
        most = row_bytes(s->stepping.states[i], s->texts) > most
                   ? row_bytes(s->stepping.states[i], s->texts)
                   : most;
    if (!s->scratch && !(s->scratch = quern__zalloc((size_t)s->texts, most)))
        return quern__fail_memory(err, (size_t)s->texts * most);
    for (int i = -1; i < s->stepping.n_states; i++) {
        char *rows = i < 0 ? (char *)s->past : s->stepping.states[i]->data;
        size_t n = i < 0 ? (size_t)s->window * sizeof *s->past
                         : row_bytes(s->stepping.states[i], s->texts);
        memcpy(s->scratch, rows, n * (size_t)s->texts);
        for (int64_t t = 0; t < s->texts; t++)
            memcpy(rows + (size_t)t * n, s->scratch + (size_t)from[t] * n, n);
    }
    return QUERN_OK;
}

/* Appends one token per text to `past`; drops the oldest if `past` is full. */
static void past_append(quern_decoder *s, const int32_t *ids, int64_t stride)
{
    if (s->n_past == s->window)
        for (int64_t t = 0; t < s->texts; t++)
            memmove(s->past + t * s->window, s->past + t * s->window + 1,
                    (size_t)(s->window - 1) * sizeof *s->past);
    s->n_past -= s->n_past == s->window;
    for (int64_t t = 0; t < s->texts; t++)
        s->past[t * s->window + s->n_past] = ids[t * stride];
    s->n_past++;
}

/* Writes a token or a position in the dtype of the input. */
static void put_number(const quern_decoder *s, int input, void *array, int64_t at, int64_t number)
{
    int dtype = quern_model_input_dtype(s->m, input);
    if (dtype == QUERN_INT64)
        ((int64_t *)array)[at] = number;
    else if (dtype == QUERN_INT32)
        ((int32_t *)array)[at] = (int32_t)number;
    else
        ((float *)array)[at] = (float)number;
}

/* Sets the inputs of a run of `steps`. Token k of text t is ids[t * stride + k] at position
 * first + k; it is 0 for k >= known. */
static int decoder_set_inputs(quern_decoder *s, const int32_t *ids, int64_t stride, int64_t steps,
                              int64_t known, int64_t first, quern_error *err)
{
    if (s->width > 1)
        memset(s->x, 0, (size_t)(s->texts * steps * s->width) * sizeof(int64_t));
    for (int64_t t = 0; t < s->texts; t++)
        for (int64_t k = 0; k < steps; k++) {
            int32_t id = k < known ? ids[t * stride + k] : 0;
            if (id < 0 || id >= s->vocabulary)
                return quern__fail(err, QUERN_NUMBER, "token", "%d is outside 0 … %lld", id,
                                   (long long)s->vocabulary - 1);
            if (s->width > 1)
                put_number(s, s->tokens, s->x, (t * steps + k) * s->width + id, 1);
            else
                put_number(s, s->tokens, s->x, t * steps + k, id);
            if (s->positions >= 0)
                put_number(s, s->positions, s->p, t * steps + k, first + k);
        }
    return QUERN_OK;
}

/* Runs a program; *logits is valid until the next run. */
static int decoder_run(quern_decoder *s, program *p, const float **logits, quern_error *err)
{
    void *arrays[QUERN__MAX_IO] = { 0 };
    arrays[s->tokens] = s->x;
    if (s->positions >= 0)
        arrays[s->positions] = s->p;
    *(float *)s->stepping.position->data = (float)s->position;
    return quern__model_run_plan(s->m, p->plan, p->logits, arrays, s->texts, logits, err);
}

/* Runs the whole window for the kept tokens. */
static int run_whole(quern_decoder *s, const float **logits, quern_error *err)
{
    const quern_shape *out = quern__shape_of(s->whole.graph, s->whole.logits);
    if (out->rank == 2 && s->n_past < s->window)
        return quern__fail(err, QUERN_INVALID, "prompt",
                           "%lld tokens, the model needs %lld (layer %s uses a whole window)",
                           (long long)s->n_past, (long long)s->window, s->hindrance);
    int status = decoder_set_inputs(s, s->past, s->window, s->window, s->n_past, 0, err);
    if (status >= 0)
        status = decoder_run(s, &s->whole, logits, err);
    if (status < 0 || out->rank == 2)
        return status;
    for (int64_t t = 0; t < s->texts; t++)
        memcpy(s->logits + t * s->vocabulary,
               *logits + (t * s->window + s->n_past - 1) * s->vocabulary,
               (size_t)s->vocabulary * sizeof **logits);
    *logits = s->logits;
    return QUERN_OK;
}

/* Feeds n tokens in chunks of 32 steps, then single steps. `kept`: the tokens are in `past`
 * already. */
static int read_steps(quern_decoder *s, const int32_t *ids, int64_t stride, int64_t n, bool kept,
                      const float **logits, quern_error *err)
{
    int status = QUERN_OK;
    for (int64_t at = 0; status >= 0 && at < n;) {
        bool many = s->chunk.plan && n - at >= chunk_steps;
        int64_t steps = many ? chunk_steps : 1;
        status = decoder_set_inputs(s, ids + at, stride, steps, steps, s->position, err);
        if (status >= 0)
            status = decoder_run(s, many ? &s->chunk : &s->step, logits, err);
        s->position += steps;
        for (int64_t k = 0; !kept && k < steps; k++)
            past_append(s, ids + at + k, stride);
        at += steps;
    }
    return status;
}

int quern_decoder_feed(quern_decoder *s, const int32_t *ids, int64_t n, const float **logits,
                       quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "decoder", s, "ids", ids, "logits", logits);
    if (n < 1)
        return quern__fail(err, QUERN_INVALID, "tokens", "at least 1 token is required");
    if (s->whole.plan) {
        if (s->on_full == QUERN_CONTEXT_STOP && s->n_past + n > s->window)
            return QUERN_END;
        for (int64_t k = 0; k < n; k++)
            past_append(s, ids + k, n);
        return run_whole(s, logits, err);
    }
    int status = QUERN_OK;
    for (int64_t at = 0; status == QUERN_OK && at < n;) {
        /* feed up to the limit of the context */
        int64_t room = s->limited ? s->window - s->position : n - at,
                take = n - at < room ? n - at : room;
        if (take == 0 && s->on_full == QUERN_CONTEXT_STOP)
            return QUERN_END;
        if (take == 0) { /* the context is full: its newer half is fed again */
            int64_t again = s->window / 2;
            forget_states(s);
            status = again ? read_steps(s, s->past + s->window - again, s->window, again, true,
                                        logits, err)
                           : QUERN_OK;
            continue;
        }
        status = read_steps(s, ids + at, n, take, false, logits, err);
        at += take;
    }
    return status;
}
