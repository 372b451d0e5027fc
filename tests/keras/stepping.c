/* Incremental decoding of attention, with keys and values kept between runs, equals attention over
 * the whole sequence. */
#include "check.h"

#include "keras/keras.h"
#include "step/step.h"

#include <math.h>
#include <string.h>

enum { texts = 2, context = 6, width = 8 };

static float sequence[(texts * context + 1) * width]; /* one step more than the capacity */

/* The output of the layer for steps [first, first + steps); `s` NULL: for the whole sequence in one
 * run. */
static void run(quern__layer *l, quern__stepping *s, int64_t first, int64_t steps, float *out,
                quern_error *err)
{
    float part[texts * context * width];
    quern_shape shape = { .rank = 3, .dims = { -1, steps, width } };
    json_t *options = json_pack("{s:b}", "use_causal_mask", 1);
    quern__graph *g = quern__graph_new();
    quern__id x = quern__graph_batch(g, 0, QUERN_FLOAT32, &shape);
    if (s) {
        s->steps = steps;
        s->asked = 0;
        *(float *)s->position->data = (float)first;
    }
    quern__id y =
        quern__layer_call(l, g, &x, 1, &(quern__context){ .options = options, .stepping = s });
    assert_true(y);
    for (int r = 0; r < texts; r++)
        memcpy(part + r * steps * width, sequence + (r * context + first) * width,
               sizeof(float) * (size_t)(steps * width));
    quern__plan *p = quern__plan_new(g, &y, 1, texts, err);
    assert_non_null(p);
    void *arena = quern__alloc_aligned((p->arena_bytes + 127) / 64 * 64, 64), *arrays[1] = { part };
    quern__team *team = quern__team_new(2, err);
    quern__step_run r = { .arena = arena, .arrays = arrays, .records = texts };
    if (quern__step(team, p, &r, err) >= 0)
        memcpy(out, quern__plan_address(p, y, arena, arrays),
               sizeof(float) * (size_t)(texts * steps * width));
    quern__team_free(team);
    quern__free_aligned(arena);
    quern__plan_free(p);
    quern__graph_free(g);
    json_decref(options);
}

static void same_as_whole(const char *words, const int *pieces, int n)
{
    quern_error err = { 0 };
    json_t *config = NULL;
    const quern__class *row = quern__parse_spec(QUERN__LAYER, words, &config, &err);
    assert_non_null(row);
    quern__layer *l = quern__layer_new(row, config, &err);
    quern_shape in = { .rank = 3, .dims = { -1, context, width } }, scalar = { 0 };
    CHECK_OK(quern__layer_build(l, &in, 1, 7, &err), err);
    quern__stepping s = { .texts = texts, .context = context };
    s.position = quern__variable_new("position", QUERN_FLOAT32, &scalar, false, &err);
    float whole[texts * context * width], part[texts * context * width];
    run(l, NULL, 0, context, whole, &err);
    int64_t first = 0;
    for (int k = 0; k < n; first += pieces[k++]) {
        run(l, &s, first, pieces[k], part, &err);
        CHECK_OK(err.code, err);
        assert_null(s.refused);
        for (int r = 0; r < texts; r++)
            for (int64_t i = 0; i < pieces[k] * width; i++) {
                float want = whole[(r * context + first) * width + i],
                      got = part[r * pieces[k] * width + i];
                if (!(fabsf(got - want) <= 1e-5f))
                    fail_msg("%s: text %d, number %lld after step %lld is %g, expected %g", words,
                             r, (long long)i, (long long)first, (double)got, (double)want);
            }
    }
    run(l, &s, context, 1, part, &err); /* the capacity is exceeded */
    assert_int_equal(err.code, QUERN_INVALID);
    for (int k = 0; k < s.n_states; k++)
        quern__variable_free(s.states[k]);
    quern__variable_free(s.position);
    quern__layer_free(l);
}

static void states_keep_earlier_steps(void **state)
{
    (void)state;
    for (int i = 0; i < texts * context * width; i++)
        sequence[i] = sinf(1.7f * (float)i);
    same_as_whole("multi_head_attention 2 4", (int[]){ 1, 1, 1, 1, 1, 1 }, 6);
    same_as_whole("multi_head_attention 4 2", (int[]){ 3, 1, 2 }, 3);
    same_as_whole("group_query_attention 4 4 2", (int[]){ 4, 1, 1 }, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(states_keep_earlier_steps) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
