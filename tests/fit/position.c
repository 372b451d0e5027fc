/* The resume position of a generator: saved after every batch of a run and restored, the rest of
 * the run is the same (P12). */
#include "common.h"

#include "base/base.h"

enum { most_batches = 64, batch = 10 };

/* The records that were read, and the position of the generator after each batch. */
typedef struct told {
    int n, saved;
    int64_t first[most_batches]; /* the first record, or number, of each batch */
    uint8_t state[most_batches][128];
    size_t size[most_batches];
    quern_generator *g;
    int64_t next; /* of the counter */
} told;

static int on_batch_end(void *user, const quern_event *e, quern_error *err)
{
    told *t = user;
    (void)e;
    int status =
        quern_generator_save(t->g, t->state[t->saved], sizeof *t->state, &t->size[t->saved], err);
    t->saved++;
    return status < 0 ? status : QUERN_OK;
}

static int read_numbered(void *user, quern_batch *b, quern_error *err)
{
    told *t = user;
    (void)err;
    t->first[t->n++] = b->indices[0];
    for (int64_t r = 0; r < b->size; r++) {
        memcpy((float *)b->arrays[0] + r * width, xs + b->indices[r] * width,
               width * sizeof(float));
        ((int32_t *)b->arrays[1])[r] = ys[b->indices[r]];
    }
    return QUERN_OK;
}

/* A counter with a resume position; batches of one record. */
static int count_next(void *user, quern_batch *b, quern_error *err)
{
    told *t = user;
    (void)err;
    t->first[t->n++] = t->next++;
    memcpy(b->arrays[0], xs, width * sizeof(float));
    ((int32_t *)b->arrays[1])[0] = ys[0];
    b->size = 1;
    return QUERN_OK;
}

static int count_save(void *user, void *state, size_t room, size_t *size, quern_error *err)
{
    (void)err;
    *size = sizeof(int64_t);
    if (state && room >= sizeof(int64_t))
        memcpy(state, &((told *)user)->next, sizeof(int64_t));
    return QUERN_OK;
}

static int count_restore(void *user, const void *state, size_t size, quern_error *err)
{
    if (size != sizeof(int64_t))
        return quern__fail(err, QUERN_FORMAT, "counter", "no number");
    memcpy(&((told *)user)->next, state, size);
    return QUERN_OK;
}

static quern_generator *counter(told *t)
{
    return quern_callback_generator(
        &(quern_callback_ops){ .next = count_next, .save = count_save, .restore = count_restore },
        t);
}

/* A run that saves the position after each batch. */
static void run(quern_generator *g, told *t, quern_fit_opts o)
{
    static const quern_hooks hooks = { .on_train_batch_end = on_batch_end };
    quern_callback *c = quern_callback_new(&hooks, t);
    quern_model *m = model();
    t->g = g;
    o.callbacks = &c;
    o.n_callbacks = 1;
    quern_history_free(fit(m, g, o));
    quern_callback_free(c);
    quern_model_free(m);
}

/* 103 records are 11 batches per pass. Epochs are passes, or 8 steps each, which end within
 * passes. */
static void the_rest_of_a_run_is_the_same(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        int steps = kind & 1 ? 8 : 0, all = steps ? 24 : 33;
        quern_fit_opts o = {
            .epochs = 3, .batch_size = batch, .steps_per_epoch = steps, .no_workers = kind >= 2
        };
        told whole = { 0 };
        quern_generator *g = quern_indexed_generator(read_numbered, &whole, records);
        run(g, &whole, o);
        quern_generator_free(g);
        assert_int_equal(whole.saved, all);
        for (int k = 0; k < all; k++) {
            told rest = { 0 };
            quern_error err = { 0 };
            g = quern_indexed_generator(read_numbered, &rest, records);
            assert_true(whole.size[k] > 0 && whole.size[k] <= 128);
            CHECK_OK(quern_generator_restore(g, whole.state[k], whole.size[k], &err), err);
            if (k + 1 < all) /* the missing batches, as one epoch */
                run(g, &rest,
                    (quern_fit_opts){ .steps_per_epoch = all - k - 1,
                                      .batch_size = batch,
                                      .no_workers = kind >= 2 });
            assert_int_equal(rest.n, all - k - 1);
            assert_memory_equal(rest.first, whole.first + k + 1, sizeof(int64_t) * (size_t)rest.n);
            quern_generator_free(g);
        }
        /* without steps, an unfinished epoch ends with its pass, and the next epoch is complete */
        told rest = { 0 };
        quern_error err = { 0 };
        g = quern_indexed_generator(read_numbered, &rest, records);
        CHECK_OK(quern_generator_restore(g, whole.state[14], whole.size[14], &err), err);
        run(g, &rest, (quern_fit_opts){ .initial_epoch = 1, .epochs = 3, .batch_size = batch });
        assert_int_equal(rest.n, 18);
        assert_memory_equal(rest.first, whole.first + 15, sizeof(int64_t) * (size_t)(whole.n - 15));
        quern_generator_free(g);
    }
}

/* The position of a pull callback is that after the last trained batch, however far the queue has
 * read ahead. */
static void a_callback_has_a_position(void **state)
{
    (void)state;
    told whole = { 0 };
    quern_error err = { 0 };
    int64_t next;
    size_t size;
    quern_generator *g = counter(&whole);
    run(g, &whole,
        (quern_fit_opts){ .steps_per_epoch = 30, .batch_size = 4, .max_queue_size = 20 });
    for (int k = 0; k < 30; k++) {
        memcpy(&next, whole.state[k], sizeof next);
        assert_true(whole.size[k] == sizeof next && next == k + 1);
    }
    CHECK_OK(quern_generator_save(g, &next, sizeof next, &size, &err), err);
    assert_int_equal(next, 30);
    CHECK_OK(quern_generator_restore(g, whole.state[11], whole.size[11], &err), err);
    whole.n = whole.saved = 0;
    run(g, &whole, (quern_fit_opts){ .steps_per_epoch = 5, .batch_size = 4 });
    assert_int_equal(whole.first[0], 12);
    assert_int_equal(quern_generator_restore(g, "abc", 3, &err), QUERN_FORMAT);
    quern_generator_free(g);
}

static int no_function(quern_yielder *y, void *arg) { return (void)y, (void)arg, QUERN_OK; }

static void a_source_without_a_position_is_named(void **state)
{
    (void)state;
    char path[64], bytes[128];
    size_t size;
    quern_error err = { 0 };
    snprintf(path, sizeof path, "/tmp/quern-position-%d.csv", (int)getpid());
    FILE *f = fopen(path, "w");
    assert_true(f && fputs("a,b\n1,2\n", f) >= 0 && !fclose(f));
    quern_callback_ops plain = { .next = count_next };
    quern_generator *kinds[] = { quern_file_generator(path, NULL, &err),
                                 quern_program_generator("true", NULL),
                                 quern_function_generator(no_function, NULL),
                                 quern_callback_generator(&plain, NULL) };
    const char *const names[] = { path, "true", "function", "generator" };
    for (int i = 0; i < 4; i++) {
        err = (quern_error){ 0 };
        assert_int_equal(quern_generator_save(kinds[i], bytes, sizeof bytes, &size, &err),
                         QUERN_UNSUPPORTED);
        assert_string_equal(err.where, names[i]);
        assert_int_equal(quern_generator_restore(kinds[i], bytes, 0, &err), QUERN_UNSUPPORTED);
        quern_generator_free(kinds[i]);
    }
    unlink(path);
}

static int on_begin(void *user, const quern_event *e, quern_error *err)
{
    told *t = user;
    (void)e, (void)err;
    t->saved = quern_generator_restore(t->g, t->state[0], t->size[0], NULL);
    return QUERN_OK;
}

static void another_position_is_refused(void **state)
{
    (void)state;
    told t = { 0 }, other = { 0 };
    quern_error err = { 0 };
    size_t size;
    quern_generator *g = quern_indexed_generator(read_numbered, &t, records);
    run(g, &t, (quern_fit_opts){ .epochs = 1, .batch_size = batch });
    assert_int_equal(quern_generator_save(g, NULL, 0, &size, &err), QUERN_OK);
    assert_true(size == t.size[0]);
    assert_int_equal(quern_generator_save(g, t.state[0], 5, &size, &err), QUERN_INVALID);
    quern_generator_free(g);
    g = quern_indexed_generator(read_numbered, &other, records - 1);
    assert_int_equal(quern_generator_restore(g, t.state[3], size, &err), QUERN_INVALID);
    quern_generator_free(g);

    g = quern_indexed_generator(read_numbered, &other, records);
    for (size_t i = 0; i < size;
         i++) { /* any bytes: refused, or a position at which a run starts or fails */
        uint8_t bad[128];
        memcpy(bad, t.state[3], size);
        bad[i] ^= 0x81;
        if (quern_generator_restore(g, bad, size, NULL) == QUERN_OK) {
            quern_model *m = model();
            quern_history_free(quern_fit_generator(
                m, g, &(quern_fit_opts){ .steps_per_epoch = 1, .batch_size = batch }, NULL));
            quern_model_free(m);
        }
        assert_true(quern_generator_restore(g, bad, i, NULL) < 0);
    }
    const quern_fit_opts others[] = { { .batch_size = 7 },
                                      { .batch_size = batch, .no_shuffle = 1 },
                                      { .batch_size = batch } };
    const char *const words[] = { "is not the first of a batch of 7", "with shuffling",
                                  "another seed" };
    for (int i = 0; i < 3; i++) {
        quern_model *m = model();
        quern_model_set_seed(m, i == 2 ? 99 : 7);
        err = (quern_error){ 0 };
        assert_int_equal(quern_generator_restore(g, t.state[3], size, &err), QUERN_OK);
        assert_null(quern_fit_generator(m, g, &others[i], &err));
        assert_non_null(strstr(err.text, words[i]));
        quern_model_free(m);
    }
    static const quern_hooks hooks = { .on_train_batch_end = on_begin };
    quern_callback *c = quern_callback_new(&hooks, &t);
    quern_model *m = model();
    t.g = g;
    quern_history_free(
        fit(m, g, (quern_fit_opts){ .batch_size = batch, .callbacks = &c, .n_callbacks = 1 }));
    assert_int_equal(t.saved, QUERN_INVALID); /* while a run reads it */
    quern_callback_free(c);
    quern_model_free(m);
    quern_generator_free(g);
}

int main(void)
{
    fill();
    const struct CMUnitTest tests[] = { cmocka_unit_test(the_rest_of_a_run_is_the_same),
                                        cmocka_unit_test(a_callback_has_a_position),
                                        cmocka_unit_test(a_source_without_a_position_is_named),
                                        cmocka_unit_test(another_position_is_refused) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
