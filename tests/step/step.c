/* A complete training step of a small network: bit-identical for any number of threads (P5), no
 * allocation after the first step, errors that name labels outside the classes, a short last
 * batch. */
#include "check.h"

#include "grad/grad.h"
#include "step/step.h"

enum { inputs = 96, hidden = 256, classes = 10, capacity = 128 };

typedef struct net {
    quern__graph *g;
    quern__plan *plan;
    quern__id loss;
    quern__variable v[14];
    void *arena;
    float x[capacity * inputs];
    int32_t y[capacity];
} net;

static quern__variable *variable(net *n, int k, int dtype, int rank, int64_t a, int64_t b)
{
    static char paths[14][4];
    snprintf(paths[k], sizeof paths[k], "v%d", k);
    n->v[k] = (quern__variable){ .path = paths[k],
                                 .dtype = dtype,
                                 .shape = { .rank = rank, .dims = { a, b } } };
    size_t bytes;
    assert_true(quern__shape_bytes(&n->v[k].shape, dtype, &bytes));
    n->v[k].data = quern__alloc_aligned(bytes + 64, 64);
    memset(n->v[k].data, 0, bytes);
    return &n->v[k];
}

/* `plain`: an output reads the sum of the first weight, which therefore needs C order. */
static net *net_made(bool plain)
{
    quern_error err = { 0 };
    net *n = calloc(1, sizeof *n);
    quern_shape sx = { .rank = 2, .dims = { -1, inputs } }, sy = { .rank = 1, .dims = { -1 } };
    const int64_t shapes[4][2] = {
        { inputs, hidden }, { hidden, 0 }, { hidden, classes }, { classes, 0 }
    };
    quern__random_key key = quern__random_key_of(1, QUERN__RANDOM_INIT, 0);
    quern__id w[4], d[4];
    n->g = quern__graph_new();
    for (int k = 0; k < 4; k++) {
        quern__variable *v =
            variable(n, k, QUERN_FLOAT32, k % 2 ? 1 : 2, shapes[k][0], shapes[k][1]);
        for (int64_t i = 0; k % 2 == 0 && i < quern_shape_count(&v->shape); i++)
            ((float *)v->data)[i] =
                0.05f * (float)quern__random_normal(key, (uint64_t)k, (uint64_t)i);
        w[k] = quern__graph_variable(n->g, v);
    }
    for (int i = 0; i < capacity * inputs; i++)
        n->x[i] = (float)quern__random_uniform(key, 9, (uint64_t)i);
    for (int i = 0; i < capacity; i++)
        n->y[i] = i * 7 % classes;
    quern__id x = quern__graph_batch(n->g, 0, QUERN_FLOAT32, &sx),
              y = quern__graph_batch(n->g, 1, QUERN_INT32, &sy);
    quern__id h = quern__unary(
        n->g, QUERN__RELU0, quern__add2(n->g, quern__matmul(n->g, x, w[0], 0, 0), w[1]), 0, 0, 0);
    h = quern__dropout(n->g, h, 0.25, 3, 0);
    quern__id z = quern__add2(n->g, quern__matmul(n->g, h, w[2], 0, 0), w[3]);
    n->loss = quern__reduce(n->g, QUERN__MEAN,
                            quern__sparse_crossentropy(n->g, y, z, QUERN__NO_LABEL), ~0u, 0);
    CHECK_OK(quern__gradients(n->g, n->loss, 0, w, 4, d, &err), err);
    quern__variable *iteration = variable(n, 12, QUERN_INT64, 0, 0, 0),
                    *rate = variable(n, 13, QUERN_FLOAT32, 0, 0, 0);
    *(float *)rate->data = 1e-3f;
    for (int k = 0; k < 4; k++) {
        int rank = n->v[k].shape.rank;
        quern__variable *m = variable(n, 4 + k, QUERN_FLOAT32, rank, shapes[k][0], shapes[k][1]);
        quern__variable *s = variable(n, 8 + k, QUERN_FLOAT32, rank, shapes[k][0], shapes[k][1]);
        quern__adam(n->g, &n->v[k], d[k], 0, quern__graph_variable(n->g, rate),
                    quern__graph_variable(n->g, iteration), m, s, NULL, 0.9, 0.999, 1e-7, 0);
    }
    quern__assign(n->g, iteration, quern__shift(n->g, quern__graph_variable(n->g, iteration), 1));
    quern__id outputs[2] = { n->loss, quern__reduce(n->g, QUERN__SUM, w[0], ~0u, 0) };
    n->plan = quern__plan_new(n->g, outputs, 1 + plain, capacity, &err);
    if (!n->plan)
        fail_msg("%s: %s", err.where, err.text);
    n->arena = quern__alloc_aligned(n->plan->arena_bytes + 64, 64);
    return n;
}

static net *net_new(void) { return net_made(false); }

static void net_free(net *n)
{
    for (int k = 0; k < 14; k++) {
        quern__free_aligned(n->v[k].data);
        quern__free_aligned(n->v[k].panels);
    }
    quern__free_aligned(n->arena);
    quern__plan_free(n->plan);
    quern__graph_free(n->g);
    free(n);
}

static int step(net *n, quern__team *team, int64_t records, int64_t first, quern_error *err)
{
    void *arrays[] = { n->x, n->y };
    quern__step_run r = {
        .arena = n->arena, .arrays = arrays, .records = records, .first = first, .seed = 5
    };
    return quern__step(team, n->plan, &r, err);
}

static void same_bits_for_any_threads(void **state)
{
    (void)state;
    quern_error err = { 0 };
    net *want = NULL;
    for (int threads = 1; threads <= 3; threads++) {
        net *n = net_new();
        quern__team *team = quern__team_new(threads, &err);
        for (int s = 0; s < 20; s++)
            CHECK_OK(step(n, team, s % 5 == 4 ? 37 : capacity, s * capacity, &err), err);
        assert_true(*(int64_t *)n->v[12].data == 20);
        for (int k = 0; want && k < 4; k++) {
            size_t bytes;
            quern__shape_bytes(&n->v[k].shape, QUERN_FLOAT32, &bytes);
            assert_memory_equal(quern__variable_numbers(&n->v[k]),
                                quern__variable_numbers(&want->v[k]), bytes);
        }
        quern__team_free(team);
        if (want)
            net_free(n);
        else
            want = n;
    }
    net_free(want);
}

/* The blocked layout has the same numbers at other addresses; writes between steps are visible. */
static void the_blocked_layout_changes_nothing(void **state)
{
    (void)state;
    quern_error err = { 0 };
    net *nets[2] = { net_made(false), net_made(true) };
    quern__team *team = quern__team_new(2, &err);
    assert_int_equal(nets[0]->v[0].panel, QUERN__PANEL);
    assert_null(nets[1]->v[0].panels);
    for (int round = 0; round < 2; round++) {
        for (int k = 0; k < 2; k++)
            for (int s = 0; s < 10; s++)
                CHECK_OK(step(nets[k], team, s == 9 ? 37 : capacity, s * capacity, &err), err);
        for (int v = 0; v < 12; v++) {
            const float *a = quern__variable_numbers(&nets[0]->v[v]),
                        *b = quern__variable_numbers(&nets[1]->v[v]);
            for (int64_t i = 0; i < quern_shape_count(&nets[0]->v[v].shape); i++)
                CHECK_NEAR(a[i], b[i], 1e-4, 1e-6);
        }
        for (int k = 0; k < 2; k++)
            for (int i = 0; i < hidden; i++)
                ((float *)quern__variable_numbers(&nets[k]->v[0]))[i * inputs] += 0.01f;
    }
    quern__team_free(team);
    net_free(nets[0]);
    net_free(nets[1]);
}

static void it_learns_and_allocates_nothing(void **state)
{
    (void)state;
    quern_error err = { 0 };
    net *n = net_new();
    quern__team *team = quern__team_new(2, &err);
    CHECK_OK(step(n, team, capacity, 0, &err), err);
    float before =
        *(float *)quern__plan_address(n->plan, n->loss, n->arena, (void *[]){ n->x, n->y });
    size_t allocations = quern__memory().allocations;
    for (int s = 0; s < 200; s++)
        CHECK_OK(step(n, team, capacity, 0, &err), err);
    assert_true(quern__memory().allocations == allocations);
    float after =
        *(float *)quern__plan_address(n->plan, n->loss, n->arena, (void *[]){ n->x, n->y });
    CHECK_NEAR(before, 2.3, 0, 0.3);
    assert_true(after < before / 2);
    quern__team_free(team);
    net_free(n);
}

static void bad_label_is_named(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 2; threads++) {
        quern_error err = { 0 };
        net *n = net_new();
        quern__team *team = quern__team_new(threads, &err);
        float first = ((float *)n->v[0].data)[0];
        n->y[90] = 77;
        n->y[41] = -3;
        assert_int_equal(step(n, team, capacity, 0, &err), QUERN_INVALID);
        assert_string_equal(err.where, "record 41 of the batch");
        assert_non_null(strstr(err.text, "label -3 is outside 0 … 9"));
        assert_true(((float *)quern__variable_numbers(&n->v[0]))[0] == first);
        quern__team_free(team);
        net_free(n);
    }
}

/* A node with a gate of 0 leaves its variable unchanged, for any number of threads; its readers
 * still run. */
static void a_gate_of_zero_skips_its_node(void **state)
{
    enum { rows = 256, columns = 512 };
    quern_error err = { 0 };
    (void)state;
    for (int threads = 1; threads <= 2; threads++) {
        net *n = calloc(1, sizeof *n);
        quern_shape scalar = { .rank = 1, .dims = { -1 } };
        quern__variable *sum = variable(n, 0, QUERN_FLOAT32, 2, rows, columns),
                        *twice = variable(n, 1, QUERN_FLOAT32, 2, rows, columns);
        quern__variable *calls = variable(n, 2, QUERN_FLOAT32, 0, 0, 0);
        n->g = quern__graph_new();
        quern__id open = quern__reduce(
            n->g, QUERN__SUM, quern__graph_batch(n->g, 0, QUERN_FLOAT32, &scalar), ~0u, false);
        quern__id count = quern__graph_variable(n->g, calls);
        assert_int_equal(quern__graph_gate(n->g, open), 0);
        quern__id grown = quern__assign(
            n->g, sum,
            quern__add2(n->g, quern__graph_variable(n->g, sum), quern__shift(n->g, count, 1)));
        assert_int_equal(quern__graph_gate(n->g, 0), open);
        quern__assign(n->g, twice, quern__scale(n->g, grown, 2));
        quern__assign(n->g, calls, quern__shift(n->g, count, 1));
        CHECK_OK(quern__graph_verify(n->g, &err), err);
        n->plan = quern__plan_new(n->g, NULL, 0, 1, &err);
        assert_non_null(n->plan);
        n->arena = quern__alloc_aligned(n->plan->arena_bytes + 64, 64);
        quern__team *team = quern__team_new(threads, &err);
        float gate[5] = { 1, 0, 0, 1, 0 },
              wanted[5] = { 1, 1, 1, 5, 5 }; /* calls 1 and 4 add 1 and 4 */
        for (int k = 0; k < 5; k++) {
            void *arrays[1] = { &gate[k] };
            CHECK_OK(
                quern__step(team, n->plan,
                            &(quern__step_run){ .arena = n->arena, .arrays = arrays, .records = 1 },
                            &err),
                err);
            const float *a = quern__variable_numbers(sum), *b = quern__variable_numbers(twice);
            for (int i = 0; i < rows * columns; i++)
                assert_true(a[i] == wanted[k] && b[i] == 2 * wanted[k]);
        }
        quern__team_free(team);
        net_free(n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(same_bits_for_any_threads),
                                        cmocka_unit_test(the_blocked_layout_changes_nothing),
                                        cmocka_unit_test(it_learns_and_allocates_nothing),
                                        cmocka_unit_test(bad_label_is_named),
                                        cmocka_unit_test(a_gate_of_zero_skips_its_node) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
