/* Samplers: options, memory, and the draw. A draw applies the repetition penalty to the logits
 * and runs the filters in order. Then it selects a token by inversion of the cumulative
 * distribution at u. */
#include "sampler.h"

#include <math.h>
#include <string.h>

enum { MOST_TOKENS = 1 << 24 };

static const char *const names[QUERN__FILTERS] = { "penalty", "temperature", "top_k",
                                                   "top_p",   "min_p",       "typical" };

static const struct {
    const char *name, *order;
} orders[] = {
    { "keras", "penalty,temperature,top_k,top_p,min_p,typical" },
    { "transformers", "penalty,temperature,top_k,top_p,min_p,typical" },
    { "llama.cpp", "penalty,top_k,typical,top_p,min_p,temperature" },
    { "vllm", "penalty,temperature,min_p,top_k,top_p,typical" },
};

/* ---- options ---- */

static bool filter_enabled(const quern_sampling *how, int filter)
{
    switch (filter) {
    case QUERN__PENALTY:
        return how->repetition_penalty != 1;
    case QUERN__TEMPERATURE:
        return how->temperature != 1;
    case QUERN__TOP_K:
        return how->top_k > 0;
    case QUERN__TOP_P:
        return how->top_p < 1;
    case QUERN__MIN_P:
        return how->min_p > 0;
    default:
        return how->typical < 1;
    }
}

/* Checks the range of every option. */
static int check_options(const quern_sampling *how, quern_error *err)
{
    const struct {
        bool valid;
        const char *name, *range;
    } checks[] = {
        { how->temperature >= 0 && how->temperature < INFINITY, "temperature",
          "a finite number of at least 0" },
        { how->top_p >= 0 && how->top_p <= 1, "top_p", "between 0 and 1; 1 is off" },
        { how->min_p >= 0 && how->min_p <= 1, "min_p", "between 0 and 1; 0 is off" },
        { how->typical >= 0 && how->typical <= 1, "typical", "between 0 and 1; 1 is off" },
        { how->repetition_penalty > 0 && how->repetition_penalty < INFINITY, "repetition_penalty",
          "a finite number above 0" },
        { how->top_k >= 0, "top_k", "at least 0; 0 is off" },
        { how->repetition_window >= 0, "repetition_window", "at least 0; 0 is the whole window" },
        { how->from_probabilities >= 0 && how->from_probabilities <= 1 && !how->reserved,
          "from_probabilities", "0 or 1" },
    };
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++)
        if (!checks[i].valid)
            return quern__fail(err, QUERN_INVALID, "sampling", "%s must be %s", checks[i].name,
                               checks[i].range);
    return QUERN_OK;
}

/* Adds the enabled filters in the given order. */
static int read_order(quern_sampler *s, const char *order, quern_error *err)
{
    bool named[QUERN__FILTERS] = { false };
    order = order ? order : orders[0].order;
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++)
        order = strcmp(order, orders[i].name) ? order : orders[i].order;
    for (size_t length; *order; order += length + (order[length] == ',')) {
        int filter = 0;
        length = strcspn(order, ",");
        while (filter < QUERN__FILTERS &&
               (strlen(names[filter]) != length || strncmp(names[filter], order, length)))
            filter++;
        if (filter == QUERN__FILTERS || named[filter])
            return quern__fail(err, QUERN_INVALID, "sampling", "order: '%.*s' is %s", (int)length,
                               order, filter == QUERN__FILTERS ? "not a filter" : "named twice");
        named[filter] = true;
        if (filter_enabled(&s->how, filter))
            s->filters[s->n_filters++] = filter;
    }
    for (int filter = 0; filter < QUERN__FILTERS; filter++)
        if (filter_enabled(&s->how, filter) && !named[filter])
            return quern__fail(err, QUERN_INVALID, "sampling",
                               "order: %s is enabled but not in the order", names[filter]);
    return QUERN_OK;
}

/* ---- creation and destruction ---- */

static bool sampler_allocate(quern_sampler *s)
{
    size_t n = (size_t)s->vocabulary;
    bool sorts = s->how.top_k > 0 || s->how.top_p < 1 || s->how.typical < 1;
    s->logits = quern__alloc(n * sizeof *s->logits);
    s->weights = quern__alloc(n * sizeof *s->weights);
    s->kept = quern__alloc(n * sizeof *s->kept);
    s->marks = quern__zalloc(n, 1);
    s->heap = sorts ? quern__alloc(n * sizeof *s->heap) : NULL;
    s->seen = filter_enabled(&s->how, QUERN__PENALTY) ? quern__zalloc(n, sizeof *s->seen) : NULL;
    return s->logits && s->weights && s->kept && s->marks && (s->heap || !sorts) &&
           (s->seen || !filter_enabled(&s->how, QUERN__PENALTY));
}

quern_sampler *quern_sampler_new(const quern_sampling *given, int64_t vocabulary, quern_error *err)
{
    QUERN__ENTER_ANY(err);
    quern_sampling how = QUERN_SAMPLING_DEFAULTS;
    if (given)
        how = *given;
    if (check_options(&how, err) < 0) {
        if (!how.repetition_penalty && !how.top_p && !how.typical)
            quern__hint(
                err,
                "initialise with QUERN_SAMPLING_DEFAULTS: 0 is not the default of every member");
        return NULL;
    }
    if (vocabulary < 1 || vocabulary > MOST_TOKENS) {
        quern__fail(err, QUERN_INVALID, "sampling", "%lld tokens are out of range: 1 to %d",
                    (long long)vocabulary, MOST_TOKENS);
        return NULL;
    }
    quern_sampler *s = quern__zalloc(1, sizeof *s);
    if (!s) {
        quern__fail_memory(err, sizeof *s);
        return NULL;
    }
    s->how = how;
    s->how.order = NULL; /* the caller owns it; it is not read again */
    s->vocabulary = vocabulary;
    int status = read_order(s, how.order, err);
    if (status >= 0 && !sampler_allocate(s))
        status = quern__fail_memory(err, (size_t)vocabulary * 2 * sizeof(double));
    if (status >= 0)
        return s;
    quern_sampler_free(s);
    return NULL;
}

void quern_sampler_free(quern_sampler *s)
{
    if (!s)
        return;
    quern__free(s->logits);
    quern__free(s->weights);
    quern__free(s->kept);
    quern__free(s->marks);
    quern__free(s->heap);
    quern__free(s->seen);
    quern__free(s);
}

/* ---- drawing ---- */

/* Checks the logits, and converts probabilities to logits. */
static int check_logits(quern_sampler *s, quern_error *err)
{
    double *l = s->logits, most = -INFINITY;
    const char *what = s->how.from_probabilities ? "probability" : "logit";
    for (int64_t i = 0; i < s->vocabulary; i++) {
        if (isnan(l[i]) || l[i] == INFINITY || (s->how.from_probabilities && l[i] < 0))
            return quern__fail(err, QUERN_NUMBER, NULL, "%s %lld is %g", what, (long long)i, l[i]);
        if (s->how.from_probabilities)
            l[i] = log(l[i]);
        most = l[i] > most ? l[i] : most;
    }
    if (most == -INFINITY)
        return quern__fail(err, QUERN_NUMBER, NULL, "no %s of %lld allows a token", what,
                           (long long)s->vocabulary);
    return QUERN_OK;
}

/* The first token whose cumulative weight exceeds u of the total. If rounding lets none exceed
 * it: the last token with a weight above 0. */
static int32_t invert_cumulative(const quern_sampler *s, double u)
{
    double target = u * s->total, sum = 0;
    int32_t last = s->kept[0];
    for (int64_t i = 0; i < s->n_kept; i++) {
        sum += s->weights[i];
        if (s->weights[i] > 0)
            last = s->kept[i];
        if (sum > target)
            break;
    }
    return last;
}

static int32_t sampler_draw(quern_sampler *s, const int32_t *window, int64_t n_window, double u,
                            quern_error *err)
{
    s->n_kept = 0;
    if (n_window < 0 || (n_window > 0 && quern__missing(err, "window", window, NULL)))
        return quern__fail(err, QUERN_INVALID, "window", "it has %lld tokens or is NULL",
                           (long long)n_window);
    if (!(u >= 0 && u < 1))
        return quern__fail(err, QUERN_INVALID, NULL, "u is %g, outside [0, 1)", u);
    int status = check_logits(s, err);
    if (status >= 0 && s->seen)
        status = quern__sample_penalty(s, window, n_window, err);
    if (status < 0)
        return status;
    quern__sample_begin(s);
    for (int i = 0; i < s->n_filters && s->how.temperature > 0; i++)
        if (s->filters[i] != QUERN__PENALTY)
            quern__sample_filter(s, s->filters[i]);
    quern__sample_weights(s);
    return invert_cumulative(s, u);
}

int32_t quern_sampler_draw(quern_sampler *s, const float *logits, const int32_t *window,
                           int64_t n_window, double u, quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "sampler", s, "logits", logits);
    for (int64_t i = 0; i < s->vocabulary; i++)
        s->logits[i] = (double)logits[i];
    return sampler_draw(s, window, n_window, u, err);
}

int32_t quern_sampler_draw_double(quern_sampler *s, const double *logits, const int32_t *window,
                                  int64_t n_window, double u, quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "sampler", s, "logits", logits);
    memcpy(s->logits, logits, (size_t)s->vocabulary * sizeof *logits);
    return sampler_draw(s, window, n_window, u, err);
}

int64_t quern_sampler_kept(quern_sampler *s, const int32_t **ids, const double **probabilities)
{
    if (!s || !ids || !probabilities)
        return 0;
    for (int64_t i = 0; i < s->n_kept; i++)
        s->weights[i] /= s->total;
    s->total = 1;
    *ids = s->kept;
    *probabilities = s->weights;
    return s->n_kept;
}

double quern_sampling_uniform(uint64_t seed, uint64_t text, uint64_t position)
{
    return quern__random_uniform(quern__random_key_of(seed, QUERN__RANDOM_SAMPLING, text), 0,
                                 position);
}
