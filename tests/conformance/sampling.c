/* Sampling: the tokens kept, their probabilities and the draws of every case, as the README of the
 * group defines them. */
#include "conformance.h"

#include <quern/text.h>
#include <stdio.h>
#include <string.h>

enum { MOST_WINDOW = 64 };

static double option(json_t *options, const char *name, double otherwise)
{
    json_t *value = json_object_get(options, name);
    return value ? json_number_value(value) : otherwise;
}

static quern_sampling how_of(json_t *options, bool classic)
{
    quern_sampling how = QUERN_SAMPLING_DEFAULTS;
    how.temperature = option(options, "temperature", 1);
    how.top_p = option(options, "top_p", 1);
    how.min_p = option(options, "min_p", 0);
    how.typical = option(options, "typical", 1);
    how.repetition_penalty = option(options, "penalty", 1);
    how.top_k = (int64_t)option(options, "top_k", 0);
    how.from_probabilities = classic;
    return how;
}

static const quern_tensor *member_of(test_case *c, const char *letter)
{
    char name[40];
    snprintf(name, sizeof name, "%s_%d", letter,
             (int)json_integer_value(json_object_get(c->one, "case")));
    return case_member(c, name);
}

/* The sets are exact. A token of a set may have probability 0, so p does not define the set. */
static void compare_kept(test_case *c, quern_sampler *s)
{
    const quern_tensor *k = member_of(c, "k"), *p = member_of(c, "p");
    const int32_t *ids;
    const double *probabilities;
    int64_t n = quern_sampler_kept(s, &ids, &probabilities), want = quern_shape_count(&k->shape);
    if (n != want || memcmp(ids, k->data, (size_t)n * sizeof *ids)) {
        case_fail(c, "kept %lld tokens, expected %lld", (long long)n, (long long)want);
        return;
    }
    json_t *tolerance = json_object_get(json_object_get(c->spec, "tolerance"), "p");
    quern_tensor got = *p;
    got.data = quern__zalloc((size_t)quern_shape_count(&p->shape), sizeof(double));
    for (int64_t i = 0; i < n; i++)
        ((double *)got.data)[ids[i]] = probabilities[i];
    case_compare_within(c, "p", &got, p, option(tolerance, "rtol", 0),
                        option(tolerance, "atol", 0));
    quern__free(got.data);
}

void run_sampling(test_case *c)
{
    quern_error err = { 0 };
    json_t *options = json_object_get(c->one, "options"),
           *window = json_object_get(options, "window"), *item;
    const char *preds = json_string_value(json_object_get(c->one, "preds")),
               *logits = json_string_value(json_object_get(c->one, "logits"));
    const quern_tensor *l = case_member(c, preds ? preds : logits), *u = member_of(c, "u"),
                       *d = member_of(c, "d");
    int32_t tokens[MOST_WINDOW];
    int64_t n_tokens = 0;
    size_t k;
    json_array_foreach(window, k, item) tokens[n_tokens++ % MOST_WINDOW] =
        (int32_t)json_integer_value(item);
    quern_sampling how = how_of(options, preds != NULL);
    quern_sampler *s = quern_sampler_new(&how, quern_shape_count(&l->shape), &err);
    if (!s || n_tokens > MOST_WINDOW) {
        case_error(c, &err);
        return;
    }
    for (int64_t i = 0; i < quern_shape_count(&u->shape) && c->result == PASSED; i++) {
        double unit = ((const double *)u->data)[i];
        int32_t got = preds ? quern_sampler_draw(s, l->data, tokens, n_tokens, unit, &err)
                            : quern_sampler_draw_double(s, l->data, tokens, n_tokens, unit, &err);
        int32_t want = ((const int32_t *)d->data)[i];
        if (got < 0)
            case_error(c, &err);
        else if (got != want)
            case_fail(c, "u = %.17g draws %d, expected %d", unit, got, want);
    }
    if (c->result == PASSED)
        compare_kept(c, s);
    quern_sampler_free(s);
}
