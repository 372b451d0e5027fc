/* Samplers: properties that hold for every vocabulary. The conformance group `sampling` has the
 * golden cases. */
#include "base/base.h"
#include "check.h"

#include <float.h>
#include <math.h>
#include <quern/text.h>

enum { N = 17 };

static const float logits[N] = { 0.5f, -1,    2, 2,  -INFINITY, 0,    1.5f,      -3,  0.25f,
                                 1,    -0.5f, 2, -2, 0.1f,      0.7f, -INFINITY, 1.2f };

static quern_sampler *sampler(quern_sampling how, int64_t n)
{
    quern_error err = { 0 };
    quern_sampler *s = quern_sampler_new(&how, n, &err);
    if (!s)
        fail_msg("%s", err.text);
    return s;
}

static quern_sampling with_temperature(double t)
{
    quern_sampling how = QUERN_SAMPLING_DEFAULTS;
    how.temperature = t;
    return how;
}

static int32_t draw(quern_sampler *s, double u)
{
    quern_error err = { 0 };
    int32_t id = quern_sampler_draw(s, logits, NULL, 0, u, &err);
    CHECK_OK(id, err);
    return id;
}

static void low_temperature_selects_the_largest_logit(void **state)
{
    (void)state;
    quern_sampler *s = sampler(with_temperature(0), N);
    for (int i = 0; i < 100; i++)
        assert_int_equal(draw(s, i / 100.0), 2); /* the lowest of 2, 3 and 11 */
    quern_sampler_free(s);
    static const double tiny[] = { 1e-300, 1e-8, 1e-3 };
    for (int k = 0; k < 3; k++) {
        const int32_t *ids;
        const double *p;
        s = sampler(with_temperature(tiny[k]), N);
        assert_int_equal(draw(s, 0.1), 2); /* tied tokens have equal probabilities */
        assert_int_equal(draw(s, 0.5), 3);
        assert_int_equal(draw(s, 0.9), 11);
        assert_int_equal(quern_sampler_kept(s, &ids, &p), N - 2);
        CHECK_NEAR(p[2], 1.0 / 3, 1e-12, 0);
        quern_sampler_free(s);
    }
}

static void high_temperature_is_uniform(void **state)
{
    const int32_t *ids;
    const double *p;
    quern_sampling how = with_temperature(1e8);
    (void)state;
    how.top_k = 5;
    quern_sampler *s = sampler(how, N);
    draw(s, 0.5);
    assert_int_equal(quern_sampler_kept(s, &ids, &p), 5);
    for (int i = 0; i < 5; i++)
        CHECK_NEAR(p[i], 0.2, 1e-6, 0);
    assert_memory_equal(ids, ((int32_t[]){ 2, 3, 6, 11, 16 }), sizeof(int32_t) * 5);
    quern_sampler_free(s);
}

/* A million draws against the probabilities of the definition. A correct sampler fails the limit
 * once in a million runs. */
static void draws_follow_the_distribution(void **state)
{
    enum { DRAWS = 1000000 };
    static int64_t counts[N];
    double p[N], total = 0, chi = 0;
    quern_sampler *s = sampler(with_temperature(0.8), N);
    (void)state;
    for (int i = 0; i < N; i++)
        total += p[i] = exp((double)logits[i] / 0.8);
    for (int i = 0; i < DRAWS; i++)
        counts[draw(s, quern_sampling_uniform(5, 0, (uint64_t)i))]++;
    for (int i = 0; i < N; i++) {
        double expected = DRAWS * p[i] / total, gap = (double)counts[i] - expected;
        assert_true(p[i] > 0 || !counts[i]);
        chi += p[i] > 0 ? gap * gap / expected : 0;
    }
    assert_true(chi < 55); /* 14 degrees of freedom */
    quern_sampler_free(s);
}

/* With top-p 0.8 and temperature 0.5 the two orders keep different tokens. */
static void filter_order_changes_the_result(void **state)
{
    static const float three[] = { 3, 2, 1 };
    static const char *const orders[] = {
        NULL, "keras", "transformers", "vllm", "temperature,top_p", "llama.cpp", "top_p,temperature"
    };
    quern_sampling how = with_temperature(0.5);
    const int32_t *ids;
    const double *p;
    (void)state;
    how.top_p = 0.8;
    for (int k = 0; k < 7; k++) {
        how.order = orders[k];
        quern_sampler *s = sampler(how, 3);
        assert_int_equal(quern_sampler_draw(s, three, NULL, 0, 0.5, NULL), 0);
        assert_int_equal(quern_sampler_kept(s, &ids, &p), k < 5 ? 1 : 2);
        quern_sampler_free(s);
    }
}

static void penalty_applies_to_the_window(void **state)
{
    static const float two[] = { 2, 1.5f };
    quern_sampling how = with_temperature(0);
    int32_t window[] = { 0, 1, 1, 1 };
    quern_error err = { 0 };
    (void)state;
    how.repetition_penalty = 2;
    quern_sampler *s = sampler(how, 2);
    assert_int_equal(quern_sampler_draw(s, two, NULL, 0, 0, &err), 0);
    assert_int_equal(quern_sampler_draw(s, two, window, 1, 0, &err), 1);
    assert_int_equal(quern_sampler_draw(s, two, window, 4, 0, &err),
                     0); /* both tokens, once each */
    window[2] = 2;
    assert_int_equal(quern_sampler_draw(s, two, window, 4, 0, &err), QUERN_INVALID);
    quern_sampler_free(s);
    how.repetition_window = 1;
    s = sampler(how, 2);
    assert_int_equal(quern_sampler_draw(s, two, window, 2, 0, NULL),
                     0); /* the window is the last token, 1 */
    quern_sampler_free(s);
    how.repetition_penalty = 1e-3;
    s = sampler(how, 2);
    assert_int_equal(quern_sampler_draw_double(s, (double[]){ DBL_MAX, 0 }, window, 1, 0, NULL),
                     QUERN_NUMBER);
    quern_sampler_free(s);
}

static void invalid_logits_are_errors(void **state)
{
    static const float bad[][3] = { { 0, NAN, 1 },
                                    { 0, 1, INFINITY },
                                    { -INFINITY, -INFINITY, -INFINITY } };
    quern_sampling how = QUERN_SAMPLING_DEFAULTS;
    (void)state;
    quern_sampler *s = sampler(how, 3);
    const char *const says[] = { "logit 1", "logit 2", "allows a token" };
    for (int i = 0; i < 3; i++) {
        quern_error err = { 0 };
        assert_int_equal(quern_sampler_draw(s, bad[i], NULL, 0, 0.5, &err), QUERN_NUMBER);
        assert_non_null(strstr(err.text, says[i]));
    }
    assert_int_equal(quern_sampler_draw(s, logits, NULL, 0, 1, NULL), QUERN_INVALID);
    assert_int_equal(quern_sampler_draw(s, logits, NULL, 0, -0.1, NULL), QUERN_INVALID);
    assert_int_equal(quern_sampler_draw(s, logits, NULL, 0, NAN, NULL), QUERN_INVALID);
    quern_sampler_free(s);
    how.from_probabilities = 1;
    s = sampler(how, 3);
    assert_int_equal(quern_sampler_draw(s, (float[]){ 0, -0.5f, 1 }, NULL, 0, 0.5, NULL),
                     QUERN_NUMBER);
    assert_int_equal(quern_sampler_draw(s, (float[]){ 0, 0, 0 }, NULL, 0, 0.5, NULL), QUERN_NUMBER);
    assert_int_equal(quern_sampler_draw(s, (float[]){ 0, 0.5f, 0.5f }, NULL, 0, 0, NULL), 1);
    quern_sampler_free(s);
    quern_sampler_free(NULL);
}

static void invalid_options_are_errors(void **state)
{
    quern_sampling bad[9];
    (void)state;
    for (int i = 0; i < 9; i++)
        bad[i] = (quern_sampling)QUERN_SAMPLING_DEFAULTS;
    bad[0].temperature = -1;
    bad[1].temperature = NAN;
    bad[2].min_p = 2;
    bad[3].repetition_penalty = 0;
    bad[4].top_k = -1;
    bad[5].order = "temperature,heat";
    bad[6].order = "top_k,top_k";
    bad[7].order = "top_k"; /* temperature is enabled but not in the order */
    bad[7].temperature = 0.5;
    bad[8].top_p = NAN;
    for (int i = 0; i < 9; i++) {
        quern_error err = { 0 };
        assert_null(quern_sampler_new(&bad[i], 10, &err));
        assert_int_equal(err.code, QUERN_INVALID);
    }
    assert_null(quern_sampler_new(NULL, 0, NULL));
    quern_sampler *s = quern_sampler_new(NULL, N, NULL);
    size_t before = quern__memory().allocations;
    draw(s, 0.3);
    assert_int_equal(quern__memory().allocations, before);
    quern_sampler_free(s);
}

static void uniform_numbers_depend_on_the_counter_only(void **state)
{
    (void)state;
    double a = quern_sampling_uniform(1, 2, 3);
    assert_true(a == quern_sampling_uniform(1, 2, 3));
    assert_true(a >= 0 && a < 1);
    assert_true(a != quern_sampling_uniform(1, 2, 4) && a != quern_sampling_uniform(1, 3, 3) &&
                a != quern_sampling_uniform(2, 2, 3));
}

/* ---- beams ---- */

enum { V = 4, STEPS = 5 };

static float table[STEPS][V]; /* log-probabilities by step; exhaustive search finds the best text */

static void fill_table(uint64_t seed)
{
    for (int i = 0; i < STEPS; i++)
        for (int v = 0; v < V; v++)
            table[i][v] = (float)(-3 * quern__random_uniform(quern__random_key_of(seed, 99, 0),
                                                             (uint64_t)i, (uint64_t)v));
}

/* The best value of all texts that end with token 0 or have all steps, by exhaustive search. */
static double best_of_all(int step, double score, double length_penalty)
{
    double best = -INFINITY;
    if (step == STEPS)
        return score / pow(STEPS, length_penalty);
    for (int v = 0; v < V; v++) {
        double own = score + (double)table[step][v];
        double value =
            v ? best_of_all(step + 1, own, length_penalty) : own / pow(step + 1, length_penalty);
        best = value > best ? value : best;
    }
    return best;
}

static void wide_beams_equal_exhaustive_search(void **state)
{
    static quern_beam beams[2000], next[2000];
    static float log_probs[2000 * V];
    static const double penalties[] = { 0, 0.7, 1, -0.5 };
    (void)state;
    for (uint64_t seed = 0; seed < 40; seed++) {
        double penalty = penalties[seed % 4];
        int64_t n = 1;
        fill_table(seed);
        beams[0] = (quern_beam){ 0 };
        for (int step = 0; step < STEPS; step++) {
            for (int64_t b = 0; b < n; b++)
                memcpy(log_probs + b * V, table[step], sizeof table[step]);
            n = quern_beam_step(beams, n, log_probs, V, 0, penalty, next, 2000,
                                NULL); /* no beam is dropped */
            memcpy(beams, next, (size_t)n * sizeof *beams);
        }
        CHECK_NEAR(beams[0].score / pow((double)beams[0].length, penalty),
                   best_of_all(0, 0, penalty), 1e-12, 0);
    }
}

static void beams_are_sorted_and_ties_are_deterministic(void **state)
{
    static const quern_beam beams[] = { { .score = -1, .length = 2 },
                                        { .score = -0.5, .length = 3, .ended = 1 },
                                        { .score = -1, .length = 2 } };
    static const float log_probs[] = { -1, 0, -1, 9, 9, 9, -INFINITY, 0, -0.5f };
    quern_beam best[8];
    (void)state;
    assert_int_equal(quern_beam_step(beams, 3, log_probs, 3, 2, 0, best, 8, NULL), 6);
    static const int want[][2] = { { 1, -1 }, { 0, 1 }, { 2, 1 }, { 2, 2 }, { 0, 0 }, { 0, 2 } };
    for (int i = 0; i < 6; i++) {
        assert_int_equal(best[i].from, want[i][0]);
        assert_int_equal(best[i].token, want[i][1]);
        assert_int_equal(best[i].ended, want[i][1] == -1 || want[i][1] == 2);
        assert_int_equal(best[i].length, 3);
    }
    assert_int_equal(quern_beam_step(beams, 3, log_probs, 3, 2, 0, best, 2, NULL), 2);
    assert_int_equal(best[1].from, 0);
    assert_int_equal(quern_beam_step(beams, 1, (float[]){ 0, NAN, 0 }, 3, -1, 0, best, 2, NULL),
                     QUERN_NUMBER);
    assert_int_equal(quern_beam_step(beams, 0, log_probs, 3, -1, 0, best, 2, NULL), QUERN_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(low_temperature_selects_the_largest_logit),
        cmocka_unit_test(high_temperature_is_uniform),
        cmocka_unit_test(draws_follow_the_distribution),
        cmocka_unit_test(filter_order_changes_the_result),
        cmocka_unit_test(penalty_applies_to_the_window),
        cmocka_unit_test(invalid_logits_are_errors),
        cmocka_unit_test(invalid_options_are_errors),
        cmocka_unit_test(uniform_numbers_depend_on_the_counter_only),
        cmocka_unit_test(wide_beams_equal_exhaustive_search),
        cmocka_unit_test(beams_are_sorted_and_ties_are_deterministic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
