/* Properties of every epoch of every kind of source: each record occurs exactly once, for batches
 * from one record to more than all, for any number of workers, shuffled or not (P5); the numbers of
 * descriptors and threads do not grow after the first epoch (P4). */
#include "kinds.h"

#include "queue/queue.h"

static int row_of(const float *row)
{
    int i = 0;
    while (i < records && memcmp(xs + i * width, row, width * sizeof *row))
        i++;
    return i;
}

/* Takes the batches of an epoch. Every record must occur once, with its own target. */
static void take_epoch(quern__queue *q, const char *what, int64_t epoch, int64_t size)
{
    quern_error err = { 0 };
    quern_batch *b;
    int seen[records + 1] = { 0 }, status;
    int64_t n = 0;
    CHECK_OK(quern__queue_begin(q, epoch, (records + size - 1) / size, true, &err), err);
    while ((status = quern__queue_take(q, &b, &err)) == QUERN_OK) {
        for (int64_t r = 0; r < b->size; r++, n++) {
            int row = row_of((float *)b->arrays[0] + r * width);
            if (row == records || seen[row]++ || ((int32_t *)b->arrays[1])[r] != ys[row])
                fail_msg("%s, batches of %d, epoch %d: record %d comes twice, or is another", what,
                         (int)size, (int)epoch, row);
        }
        quern__queue_release(q);
    }
    if (status != QUERN_END || n != records)
        fail_msg("%s, batches of %d, epoch %d: %d records: %s", what, (int)size, (int)epoch, (int)n,
                 err.text);
}

static void once(const struct kind *k, int64_t size, int workers, int depth, bool shuffle)
{
    quern_error err = { 0 };
    quern__queue_opts o = { .spec = { .n_inputs = 1,
                                      .n_targets = 1,
                                      .batch_size = size,
                                      .shapes = { { .rank = 2, .dims = { -1, width } },
                                                  { .rank = 1, .dims = { -1 } } },
                                      .dtypes = { QUERN_FLOAT32, QUERN_INT32 },
                                      .names = { "x", "y" },
                                      .weights = { { .rank = 1, .dims = { -1 } } } },
                            .shuffle = shuffle,
                            .seed = 5,
                            .depth = depth,
                            .workers = workers };
    quern_generator *g = opened(k);
    quern__queue *q = quern__queue_open(g, &o, &err);
    if (!q)
        fail_msg("%s: %s: %s", k->words, err.where, err.text);
    for (int64_t epoch = 0; epoch < 3; epoch++) {
        position = 0; /* infinite streams restart with each */
        take_epoch(q, k->words, epoch, size);
    }
    quern__queue_close(q);
    quern_generator_free(g);
}

static void each_record_occurs_once(void **state)
{
    static const int64_t sizes[] = { batch, 1, 2, 51, records - 1, records, records + 1 };
    static const int workers[] = { 1, 0, 3, 16 };
    (void)state;
    for (int k = 0; k < n_kinds; k++)
        for (int s = 0; s < (kinds[k].ends ? 7 : 1); s++)
            for (int w = 0; w < (kinds[k].many ? 4 : 2); w++)
                for (int shuffle = 0; shuffle < 2; shuffle++)
                    once(&kinds[k], sizes[s], workers[w], 1 + (s + w) % 3 * 4, shuffle);
}

typedef struct held {
    int files, threads, epochs;
} held;

static int count_held(void *user, const quern_event *event, quern_error *err)
{
    held *h = user;
    (void)event, (void)err;
    int files = entries("/proc/self/fd"), threads = entries("/proc/self/task");
    if (h->epochs++ == 0)
        *h = (held){ files, threads, 1 };
    if (files != h->files || threads != h->threads)
        fail_msg("epoch %d: %d descriptors and %d threads, %d and %d after the first", h->epochs,
                 files, threads, h->files, h->threads);
    return QUERN_OK;
}

static void nothing_grows(void **state)
{
    int many = getenv("QUERN_SLOW") ? 1000 : 12;
    (void)state;
    for (int k = 0; k < n_kinds; k++) {
        held h = { 0 };
        quern_callback *c = quern_callback_new(&(quern_hooks){ .on_epoch_end = count_held }, &h);
        quern_model *m = model();
        quern_generator *g = opened(&kinds[k]), *valid = opened(&kinds[kinds[k].ends ? k : 0]);
        quern_history_free(fit(m, g,
                               (quern_fit_opts){ .epochs = many,
                                                 .batch_size = batch,
                                                 .steps_per_epoch = steps,
                                                 .workers = kinds[k].many ? 3 : 1,
                                                 .validation_data = valid,
                                                 .callbacks = &c,
                                                 .n_callbacks = 1 }));
        assert_int_equal(h.epochs, many);
        quern_generator_free(g);
        quern_generator_free(valid);
        quern_callback_free(c);
        quern_model_free(m);
    }
}

static int note_loss(void *user, const quern_event *event, quern_error *err)
{
    double *all = user;
    (void)err;
    all[2 * event->epoch] = event->logs[0];
    all[2 * event->epoch + 1] = NAN;
    for (int i = 0; i < event->n_logs; i++)
        if (!strcmp(event->names[i], "val_loss"))
            all[2 * event->epoch + 1] = event->logs[i];
    return QUERN_OK;
}

/* The history file holds the values that callbacks received; a column may start later. */
static void history_is_kept(void **state)
{
    enum { many = 1100, freq = 600 };
    static double told[2 * many];
    (void)state;
    quern_callback *c = quern_callback_new(&(quern_hooks){ .on_epoch_end = note_loss }, told);
    quern_model *m = model();
    quern_tensor x = { .dtype = QUERN_FLOAT32,
                       .shape = { .rank = 2, .dims = { 8, width } },
                       .data = xs },
                 y = { .dtype = QUERN_INT32, .shape = { .rank = 1, .dims = { 8 } }, .data = ys };
    quern_error err = { 0 };
    quern_generator *g = quern_array_generator(&x, 1, &y, 1, NULL, &err),
                    *valid = quern_array_generator(&x, 1, &y, 1, NULL, &err);
    quern_history *h = fit(m, g,
                           (quern_fit_opts){ .epochs = many,
                                             .validation_data = valid,
                                             .validation_freq = freq,
                                             .callbacks = &c,
                                             .n_callbacks = 1 });
    assert_int_equal(quern_history_epochs(h), many);
    for (int i = 0; i < many; i++) {
        double loss = quern_history_value(h, "loss", i),
               val = quern_history_value(h, "val_loss", i);
        assert_memory_equal(&loss, &told[2 * i], sizeof loss);
        assert_int_equal(isnan(val), i != freq - 1);
        assert_true(isnan(val) || val == told[2 * i + 1]);
    }
    assert_true(isnan(quern_history_value(h, "loss", many)) &&
                isnan(quern_history_value(h, "loss", -1)));
    quern_history_free(h);
    quern_generator_free(g);
    quern_generator_free(valid);
    quern_callback_free(c);
    quern_model_free(m);
}

int main(void)
{
    fill();
    const struct CMUnitTest tests[] = { cmocka_unit_test(each_record_occurs_once),
                                        cmocka_unit_test(nothing_grows),
                                        cmocka_unit_test(history_is_kept) };
    return cmocka_run_group_tests(tests, write_files, remove_files);
}
