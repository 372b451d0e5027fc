/* A user-defined callback, an indexed source read by two workers, and a model of two inputs. */
#include <quern/quern.h>
#include <stdio.h>

enum { records = 2000 };

/* Fills the records that the batch names. Two threads may call this function at once, each with its
 * own batch. */
static int read_records(void *user, quern_batch *b, quern_error *err)
{
    (void)user, (void)err;
    float *left = b->arrays[0], *right = b->arrays[1], *sum = b->arrays[2];
    for (int64_t r = 0; r < b->size; r++) {
        left[r] = (float)(b->indices[r] % 37) / 37;
        right[r] = (float)(b->indices[r] % 11) / 11;
        sum[r] = left[r] + right[r];
    }
    return QUERN_OK;
}

/* Stops as soon as the loss is small enough. */
static int on_epoch_end(void *user, const quern_event *e, quern_error *err)
{
    (void)err;
    printf("epoch %lld: %s %.6f\n", (long long)e->epoch + 1, e->names[0], e->logs[0]);
    return e->logs[0] < *(double *)user ? QUERN_END : QUERN_OK;
}

int main(void)
{
    quern_error err = { 0 };
    double enough = 1e-3;
    quern_blueprint *b = quern_blueprint_new(1);
    int in[] = { quern_input(b, "1 name=left"), quern_input(b, "1 name=right") };
    int h = quern_apply(b, "dense 16 relu", quern_apply_n(b, "concatenate", in, 2)),
        y = quern_apply(b, "dense 1", h);
    quern_model *m = quern_model_new(b, in, 2, &y, 1, &err);
    if (!m || quern_compile(m, "adam learning_rate=0.01", "mse", NULL, &err) < 0)
        return fprintf(stderr, "%s: %s\n", err.where, err.text), 1;
    quern_callback *c = quern_callback_new(&(quern_hooks){ .on_epoch_end = on_epoch_end }, &enough);
    quern_generator *data = quern_indexed_generator(read_records, NULL, records);
    quern_history *history = quern_fit_generator(
        m, data, &(quern_fit_opts){ .epochs = 50, .workers = 2, .callbacks = &c, .n_callbacks = 1 },
        &err);
    if (!history || err.code)
        return fprintf(stderr, "%s: %s\n", err.where, err.text), 1;
    int failed = quern_history_value(history, "loss", quern_history_epochs(history) - 1) > enough;
    quern_history_free(history);
    quern_callback_free(c);
    quern_generator_free(data);
    quern_model_free(m);
    return failed;
}
