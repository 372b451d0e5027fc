/* Token windows of a corpus as batches for language models: layout of the arrays, order of the
 * windows, and resume position. */
#include "source/generator_struct.h"
#include "tensor/array_axes.h"
#include "token_windows.h"

#include <string.h>

enum { default_memory = 4 << 20, keras_step = 3 };

/* How an array of the batch stores tokens. */
typedef struct layout {
    int dtype;
    int64_t tokens,
        width; /* tokens of a record; elements of a token: 1, or the number of classes (one-hot) */
} layout;

/* The resume position as bytes. */
typedef struct kept {
    char magic[4];
    uint32_t flags;
    uint64_t fingerprint, seed;
    int64_t epoch, group, drawn; /* position of the group's first block in the order of the epoch;
                                    windows (stateful: batches) drawn */
} kept;
enum { SHUFFLED = 1, UNREAD = 2 }; /* UNREAD: no run has begun */

typedef struct text {
    quern_text_opts o;
    quern__corpus corpus;
    const quern_tokenizer *t;
    quern__windows windows;
    quern__lanes lanes;
    layout x, y, p;
    int tokens, positions; /* indices of the inputs; -1: none */
    int32_t *window;       /* the tokens of one record */
    bool shuffle, begun, ended, restored, told;
    uint64_t seed;
    int64_t epoch, group, place, drawn;
    quern__random_key blocks_key, draw_key;
    kept at;    /* the restored position */
    int failed; /* status of a failed read-ahead, which the next batch reports */
    quern_error error;
} text;

/* ---- the arrays of the model ---- */

/* Determines how an array stores tokens: as ids, or one-hot in its last axis. */
static int set_layout(const text *w, const quern_batch_spec *s, int array, int64_t tokens,
                      layout *l, quern_error *err)
{
    const quern_shape *shape = &s->shapes[array];
    int64_t size = quern_tokenizer_size(w->t);
    char want[96];
    int64_t last = shape->rank > 1 ? shape->dims[shape->rank - 1] : 1;
    quern_shape plain = { .rank = 2, .dims = { -1, tokens } },
                rows = { .rank = 3, .dims = { -1, tokens, last } },
                row = { .rank = 2, .dims = { -1, last } }; /* of one token, without a time axis */
    bool input = array < s->n_inputs, fits = quern__axes_fit(&plain, shape),
         one_hot = !fits && s->dtypes[array] == QUERN_FLOAT32 &&
                   (quern__axes_fit(&rows, shape) || (tokens == 1 && quern__axes_fit(&row, shape)));
    *l = (layout){ s->dtypes[array], tokens, one_hot ? last : 1 };
    quern_shape_text(shape, want, sizeof want);
    if (!fits && !one_hot)
        return quern__fail(err, QUERN_SHAPE, w->corpus.paths[0],
                           "%s of %lld tokens, the model expects %s", input ? "windows" : "targets",
                           (long long)tokens, want);
    if (one_hot && last < size)
        return quern__fail(err, QUERN_SHAPE, w->corpus.paths[0],
                           "the tokenizer has %lld tokens, the model expects %s", (long long)size,
                           want);
    if (l->dtype != QUERN_FLOAT32 && l->dtype != QUERN_INT32 && l->dtype != QUERN_INT64)
        return quern__fail(err, QUERN_DTYPE, w->corpus.paths[0],
                           "tokens are integers or float32, the model expects %s",
                           quern_dtype_name(l->dtype));
    return QUERN_OK;
}

static bool names_positions(const quern_batch_spec *s, int input)
{
    return s->names[input] && strstr(s->names[input], "position");
}

/* Sets window, stride, and the layout of inputs and targets. */
static int text_match(text *w, const quern_batch_spec *s, quern_error *err)
{
    w->tokens = s->n_inputs == 2 && names_positions(s, 0);
    w->positions = s->n_inputs == 2 && names_positions(s, !w->tokens) ? !w->tokens : -1;
    const quern_shape *in = &s->shapes[w->tokens];
    if (s->n_inputs > 2 || (s->n_inputs == 2 && w->positions < 0) || s->n_targets > 1)
        return quern__fail(err, QUERN_UNSUPPORTED, w->corpus.paths[0],
                           "the model has %d inputs and %d outputs; text needs 1 input (2 with "
                           "positions) and 1 output",
                           s->n_inputs, s->n_targets);
    int64_t length = w->o.window ? w->o.window : in->rank > 1 ? in->dims[1] : 1;
    if (length < 1)
        return quern__fail(err, QUERN_SHAPE, w->corpus.paths[0],
                           "the model's input has no fixed length; set the window length");
    int64_t stride = w->o.stride                                              ? w->o.stride
                     : w->o.targets == QUERN_TARGETS_LAST && !w->o.contiguous ? keras_step
                                                                              : length;
    if (w->o.contiguous && stride != length)
        return quern__fail(err, QUERN_INVALID, "stride",
                           "contiguous windows need stride %lld, not %lld", (long long)length,
                           (long long)stride);
    w->windows.length = w->lanes.length = length;
    w->windows.stride = stride;
    int status = set_layout(w, s, w->tokens, length, &w->x, err);
    if (status >= 0 && w->positions >= 0)
        status = set_layout(w, s, w->positions, length, &w->p, err);
    if (status >= 0 && w->positions >= 0 && w->p.width > 1)
        status = quern__fail(err, QUERN_SHAPE, w->corpus.paths[0],
                             "positions must have one element per token");
    if (status >= 0 && s->n_targets)
        status = set_layout(w, s, s->n_inputs, w->o.targets == QUERN_TARGETS_LAST ? 1 : length,
                            &w->y, err);
    return status;
}

/* Stores the tokens of record r in an array. */
static void put_tokens(const layout *l, const int32_t *tokens, void *array, int64_t r)
{
    float *f = (float *)array + r * l->tokens * l->width;
    if (l->dtype == QUERN_INT32)
        memcpy((int32_t *)array + r * l->tokens, tokens, (size_t)l->tokens * sizeof *tokens);
    else if (l->dtype == QUERN_INT64)
        for (int64_t k = 0; k < l->tokens; k++)
            ((int64_t *)array)[r * l->tokens + k] = tokens[k];
    else if (l->width == 1)
        for (int64_t k = 0; k < l->tokens; k++)
            f[k] = (float)tokens[k];
    else {
        memset(f, 0, (size_t)(l->tokens * l->width) * sizeof *f);
        for (int64_t k = 0; k < l->tokens; k++)
            f[k * l->width + tokens[k]] = 1;
    }
}

/* ---- order ---- */

/* Logs the quality of the shuffle once, if memory does not hold all windows. */
static void log_dispersion(text *w, int64_t batch)
{
    if (w->told || !w->shuffle || w->corpus.reader || w->place >= w->corpus.n_blocks)
        return;
    w->told = true;
    quern__log_dispersion(w->corpus.paths[0], "windows", w->windows.n_segments, 0, batch,
                          "more memory lowers it");
}

/* Fills the next group of windows that is not empty. */
static int next_group(text *w, quern_error *err)
{
    int status = QUERN_OK;
    do {
        w->group = w->corpus.reader ? w->group + 1 : w->place;
        w->drawn = 0;
        w->draw_key = quern__random_key_of(
            w->seed, QUERN__RANDOM_SHUFFLE_WINDOW,
            quern__hash64(quern__hash64((uint64_t)w->epoch) ^ (uint64_t)w->group));
        status =
            quern__windows_fill(&w->windows, w->shuffle ? &w->blocks_key : NULL, &w->place, err);
    } while (status == QUERN_OK && w->windows.n_windows == 0);
    return status;
}

/* Prepares the next window (stateful: batch), or sets `ended`. */
static int prepare_next(text *w, quern_error *err)
{
    int status = QUERN_OK;
    if (w->o.contiguous)
        status = quern__lanes_ready(&w->lanes, err);
    else if (w->drawn == w->windows.n_windows)
        status = next_group(w, err);
    w->ended = status == QUERN_END;
    return status < 0 ? status : QUERN_OK;
}

static int text_begin(text *w, int64_t epoch, quern_error *err)
{
    w->epoch = epoch;
    w->group = w->corpus.reader ? -1 : 0;
    w->place = w->drawn = 0;
    w->begun = true;
    w->windows.seen = 0;
    w->failed = 0;
    w->blocks_key = quern__random_key_of(w->seed, QUERN__RANDOM_SHUFFLE_BLOCKS, (uint64_t)epoch);
    int status = quern__corpus_rewind(&w->corpus, err);
    if (status < 0)
        return status;
    w->ended = false;
    if (w->o.contiguous)
        quern__lanes_start(&w->lanes);
    else
        quern__windows_forget(&w->windows);
    return QUERN_OK;
}

/* A hash of the options and the text sizes; a resume position is valid for equal values only. */
static uint64_t fingerprint(const text *w)
{
    const int64_t about[] = { w->windows.length,   w->windows.stride,
                              w->o.targets,        w->o.contiguous ? w->lanes.n : 0,
                              w->windows.capacity, w->corpus.block,
                              w->corpus.size,      quern_tokenizer_size(w->t) };
    uint64_t h = 0;
    for (size_t i = 0; i < sizeof about / sizeof *about; i++)
        h = quern__hash64(h ^ (uint64_t)about[i]) + i;
    for (int i = 0; i < w->corpus.n_paths; i++)
        h = quern__hash64(h ^ (uint64_t)w->corpus.ends[i]);
    return h;
}

/* Moves to the restored position: fills its group again, or skips the batches of the lanes. */
static int text_seek(text *w, quern_error *err)
{
    const kept *k = &w->at;
    w->restored = false;
    if (k->flags & UNREAD)
        return text_begin(w, 0, err);
    if (k->fingerprint != fingerprint(w))
        return quern__fail(err, QUERN_INVALID, w->corpus.paths[0],
                           "the state belongs to another text, tokenizer or options");
    if (!!(k->flags & SHUFFLED) != w->shuffle || (w->shuffle && k->seed != w->seed))
        return quern__fail(err, QUERN_INVALID, w->corpus.paths[0],
                           "the state belongs to a run with another order or seed");
    quern__bad *bad = w->corpus.bad;
    w->corpus.bad = NULL; /* bad records before the position were counted */
    int status = text_begin(w, k->epoch, err);
    while (w->o.contiguous && w->drawn < k->drawn && !w->ended) {
        status = prepare_next(w, err);
        if (status < 0)
            break;
        for (int64_t r = 0; r < w->lanes.n && !w->ended; r++)
            quern__lanes_take(&w->lanes, r, NULL);
        w->drawn++;
    }
    bool there = w->o.contiguous || status < 0 || (k->group == 0 && k->drawn == 0);
    if (!there) {
        w->place = k->group;
        status = prepare_next(w, err);
    }
    w->corpus.bad = bad;
    if (there)
        return status;
    if (status >= 0 && (w->ended || w->group != k->group || k->drawn > w->windows.n_windows))
        return quern__fail(err, QUERN_FORMAT, w->corpus.paths[0], "the state is invalid");
    w->drawn = k->drawn;
    return status;
}

/* ---- the generator ---- */

/* Token ids, one block, and the memory of the tokenizer. */
static size_t text_bytes(const quern_generator *g, const quern_batch_spec *spec, bool shuffle)
{
    const text *w = g->self;
    size_t memory = w->o.memory ? w->o.memory : default_memory;
    (void)spec, (void)shuffle;
    return memory + memory / 2 + (2 << 20);
}

static int text_open(quern_generator *g, const quern_batch_spec *spec, bool shuffle, uint64_t seed,
                     quern_error *err)
{
    text *w = g->self;
    size_t memory = w->o.memory ? w->o.memory : default_memory;
    int status = text_match(w, spec, err);
    w->lanes.n = spec->batch_size;
    if (status >= 0)
        status = w->o.contiguous ? quern__lanes_open(&w->lanes, memory, err)
                                 : quern__windows_open(&w->windows, memory, err);
    if (status < 0)
        return status;
    quern__free(w->window);
    if (!(w->window = quern__zalloc((size_t)w->windows.length + 1, sizeof *w->window)))
        return quern__fail_memory(err, (size_t)w->windows.length * sizeof *w->window);
    w->shuffle = shuffle && !w->o.contiguous;
    w->seed = seed;
    w->begun = w->told = false;
    g->spec = spec;
    return QUERN_OK;
}

/* Copies record r to the batch. */
static void text_take(text *w, const quern_batch_spec *spec, quern_batch *b, int64_t r)
{
    int64_t n = w->windows.n_windows;
    if (w->o.contiguous)
        quern__lanes_take(&w->lanes, r, w->window);
    else
        quern__windows_copy(&w->windows,
                            w->shuffle ? (int64_t)quern__random_permute(w->draw_key, (uint64_t)n,
                                                                        (uint64_t)w->drawn)
                                       : w->drawn,
                            w->window);
    w->drawn += w->o.contiguous ? r + 1 == b->spec->batch_size : 1;
    put_tokens(&w->x, w->window, b->arrays[w->tokens], r);
    if (spec->n_targets)
        put_tokens(&w->y, w->window + (w->o.targets == QUERN_TARGETS_LAST ? w->windows.length : 1),
                   b->arrays[spec->n_inputs], r);
    for (int64_t k = 0; w->positions >= 0 && k < w->windows.length; k++)
        w->window[k] = (int32_t)k;
    if (w->positions >= 0)
        put_tokens(&w->p, w->window, b->arrays[w->positions], r);
}

/* Fills a batch. The next window is prepared in advance, so that `ended` is known with the last
 * batch. */
static int text_next(quern_generator *g, quern_batch *b, quern_error *err)
{
    text *w = g->self;
    int64_t n = 0, size = g->spec->batch_size;
    w->corpus.bad = b->bad;
    w->corpus.drops = b->bad != NULL;
    int status = w->begun ? QUERN_OK : w->restored ? text_seek(w, err) : text_begin(w, 0, err);
    if (w->failed && err && !err->code)
        *err = w->error;
    status = w->failed ? w->failed : status;
    w->failed = 0;
    b->has_weights = false;
    if (status >= 0 && !w->ended)
        status = prepare_next(w, err);
    if (status >= 0 && !w->o.contiguous)
        log_dispersion(w, size);
    while (status >= 0 && n < size && !w->ended) {
        text_take(w, g->spec, b, n++);
        w->error = (quern_error){ 0 };
        if (!w->o.contiguous || n == size)
            status = prepare_next(w, &w->error);
    }
    /* an error of the read-ahead belongs to the next batch */
    if (status < 0 && n == size) { /* this batch is complete */
        w->failed = status;
        status = QUERN_OK;
    } else if (status < 0 && n && err && !err->code)
        *err = w->error;
    b->size = n;
    return status < 0 ? status : n ? QUERN_OK : QUERN_END;
}

/* Fails because the text is shorter than one window. */
static int text_empty(const quern_generator *g, quern_error *err)
{
    const text *w = g->self;
    const char *path = w->corpus.paths[0];
    if (w->o.contiguous)
        return quern__fail(err, QUERN_INVALID, path,
                           "the text is too short for %lld lanes of windows of %lld tokens each",
                           (long long)w->lanes.n, (long long)w->windows.length + 1);
    quern__fail(err, QUERN_INVALID, path,
                "the text has %lld tokens, a window needs %lld and one more",
                (long long)w->windows.seen, (long long)w->windows.length);
    quern__hint(err, "use a longer text, or a model with a shorter input");
    return QUERN_INVALID;
}

static int text_reset(quern_generator *g, int64_t epoch, quern_error *err)
{
    text *w = g->self;
    w->restored = false;
    return text_begin(w, epoch, err);
}

/* Writes the position of the next window (stateful: batch). */
static int text_save(const quern_generator *g, void *state, size_t room, size_t *size,
                     quern_error *err)
{
    const text *w = g->self;
    kept k = { .magic = "qtxt",
               .flags = w->shuffle ? SHUFFLED : 0,
               .fingerprint = fingerprint(w),
               .seed = w->seed,
               .epoch = w->ended ? w->epoch + 1 : w->epoch,
               .group = w->ended || w->o.contiguous ? 0 : w->group,
               .drawn = w->ended ? 0 : w->drawn };
    if (w->restored)
        k = w->at;
    else if (!w->window)
        k.flags |= UNREAD;
    *size = sizeof k;
    if (state && room < sizeof k)
        return quern__fail(err, QUERN_INVALID, w->corpus.paths[0],
                           "its state has %zu bytes, the buffer %zu", sizeof k, room);
    if (state)
        memcpy(state, &k, sizeof k);
    return QUERN_OK;
}

static int text_restore(quern_generator *g, const void *state, size_t size, quern_error *err)
{
    text *w = g->self;
    kept k;
    if (size != sizeof k || memcmp(state, "qtxt", 4))
        return quern__fail(err, QUERN_FORMAT, w->corpus.paths[0],
                           "the bytes are not a state of a text generator");
    memcpy(&k, state, sizeof k);
    if (k.epoch < 0 || k.epoch > (int64_t)1 << 48 || k.group < 0 || k.drawn < 0)
        return quern__fail(err, QUERN_FORMAT, w->corpus.paths[0], "the state is invalid");
    w->at = k;
    w->restored = true;
    w->begun = false;
    g->position.pass = k.epoch;
    return QUERN_OK;
}

static int text_shapes(const quern_generator *g, quern__description *out, quern_error *err)
{
    const text *w = g->self;
    (void)err;
    *out = (quern__description){ .n_x = 1 };
    out->shapes[0] = (quern_shape){ .rank = 2, .dims = { -1, w->o.window } };
    return w->o.window ? QUERN_OK : QUERN_END;
}

static void text_free(quern_generator *g)
{
    text *w = g->self;
    quern__windows_close(&w->windows);
    quern__lanes_close(&w->lanes);
    quern__corpus_close(&w->corpus);
    quern__free(w->window);
    quern__free(w);
}

static int check_options(const quern_text_opts *o, quern_error *err)
{
    enum { most = 1 << 24 };
    const struct {
        bool valid;
        const char *name;
    } checks[] = { { o->window >= 0 && o->window <= most, "window" },
                   { o->stride >= 0 && o->stride <= most, "stride" },
                   { o->targets == QUERN_TARGETS_NEXT || o->targets == QUERN_TARGETS_LAST,
                     "targets" },
                   { o->contiguous == 0 || o->contiguous == 1, "contiguous" },
                   { o->memory <= SIZE_MAX / 4, "memory" } };
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++)
        if (!checks[i].valid)
            return quern__fail(err, QUERN_INVALID, checks[i].name, "is out of range");
    return QUERN_OK;
}

quern_generator *quern_text_generator(const char *paths, const quern_tokenizer *t,
                                      const quern_text_opts *opts, quern_error *err)
{
    QUERN__ENTER(err, NULL, "paths", paths, "tokenizer", t);
    static const quern__source_ops kind = { .open = text_open,
                                            .next = text_next,
                                            .reset = text_reset,
                                            .free = text_free,
                                            .shapes = text_shapes,
                                            .save = text_save,
                                            .restore = text_restore,
                                            .bytes = text_bytes,
                                            .empty = text_empty };
    enum { opts_0_1 = 40 };
    quern_text_opts o;
    if (QUERN__OPTIONS(o, opts_0_1, opts, err) < 0)
        return NULL;
    text *w = check_options(&o, err) < 0 ? NULL : quern__zalloc(1, sizeof *w);
    quern_generator *g = w ? quern__generator_new(&kind, w) : NULL;
    if (!g) {
        quern__free(w);
        quern__fail_memory(err, sizeof *w);
        return NULL;
    }
    w->o = o;
    w->t = w->windows.t = w->lanes.t = t;
    w->windows.corpus = w->lanes.corpus = &w->corpus;
    if (quern__corpus_open(&w->corpus, paths, err) < 0) {
        quern_generator_free(g);
        return NULL;
    }
    g->finite = !w->corpus.reader || !quern__text_reader_once(w->corpus.reader);
    g->saves = !w->corpus.reader;
    g->bad.can = 1u << QUERN_BAD_SKIP;
    g->where = w->corpus.paths[0];
    return g;
}
