/* P14: a source that stands still at a record is named, once, with the batch and the record that are waited for; and what comes
 * when it goes on is as if it had not. */
#include "common.h"

#include "queue/queue.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>

enum { batch = 10, still_at = 3 /* batches before the one that comes late */ };
static const useconds_t still = 500000;

static char told[1024];
static int times;
static void on_log(void *user, int level, const char *text)
{
    (void)user;
    if (level == 1 && strstr(text, "has given nothing")) {
        snprintf(told, sizeof told, "%s", text);
        times++;
    }
}

static void put(quern_batch *b, int64_t r, int64_t record)
{
    memcpy((float *)b->arrays[0] + r * width, xs + record * width, width * sizeof(float));
    ((int32_t *)b->arrays[1])[r] = ys[record];
}

static bool slow; /* whether it stands still at all */

static int next(void *user, quern_batch *b, quern_error *err)
{
    int *at = user;
    (void)err;
    if (*at == records)
        return QUERN_END;
    if (slow && *at == still_at * batch)
        usleep(still);
    for (b->size = 0; b->size < batch && *at < records; b->size++)
        put(b, b->size, (*at)++);
    return QUERN_OK;
}

static int by_number(void *user, quern_batch *b, quern_error *err)
{
    (void)user, (void)err;
    for (int64_t r = 0; r < b->size; r++) {
        if (slow && b->indices[r] == still_at * batch)
            usleep(still);
        put(b, r, b->indices[r]);
    }
    return QUERN_OK;
}

static int loop(quern_yielder *y, void *user)
{
    for (quern_batch *b; (b = quern_next_batch(y));)
        if (next(user, b, NULL) == QUERN_END || quern_yield(y, b) < 0)
            return QUERN_OK;
    return QUERN_OK;
}

/* A pipe with the rows of a CSV. */
static char pipe_path[64];
static void *write_rows(void *user)
{
    int fd = open(pipe_path, O_WRONLY);
    (void)user;
    dprintf(fd, "a,b,c,d,e,f,y\n");
    for (int i = 0; i < records; i++) {
        if (slow && i == still_at * batch + 4)
            usleep(still);
        for (int k = 0; k < width; k++)
            dprintf(fd, "%.9g,", (double)xs[i * width + k]);
        dprintf(fd, "%d\n", ys[i]);
    }
    close(fd);
    return NULL;
}

static const struct kind {
    const char *name, *where, *first; /* what is waited for */
    int workers;
} kinds[] = {
    { "callback", "generator: ", "batch 4 of epoch 1, from record 31 on", 1 },
    { "indexed", "generator: ", "batch 4 of epoch 1, from record 31 on", 1 },
    { "indexed", "generator: ", "batch 4 of epoch 1, from record 31 on", 8 },
    { "function", "function: ", "batch 4 of epoch 1, from record 31 on", 1 },
    { "pipe", "/tmp/quern-stall", "of epoch 1, from record ", 1 },
};
enum { n_kinds = sizeof kinds / sizeof *kinds };

static quern_model *trained(const struct kind *k, int workers)
{
    int at = 0;
    pthread_t writer;
    bool piped = !strcmp(k->name, "pipe");
    quern_model *m = model();
    quern_error err = { 0 };
    if (piped)
        assert_int_equal(pthread_create(&writer, NULL, write_rows, NULL), 0);
    quern_generator *g = piped                          ? quern_file_generator(pipe_path, &(quern_file_opts){ .target = "y" }, &err)
                         : !strcmp(k->name, "indexed")  ? quern_indexed_generator(by_number, NULL, records)
                         : !strcmp(k->name, "function") ? quern_function_generator(loop, &at)
                                                        : quern_callback_generator(&(quern_callback_ops){ .next = next }, &at);
    if (!g)
        fail_msg("%s: %s", err.where, err.text);
    quern_history_free(
        fit(m, g,
            (quern_fit_opts){
                .batch_size = batch, .no_shuffle = 1, .max_queue_size = 2, .workers = workers, .no_workers = workers == 0 }));
    quern_generator_free(g);
    if (piped)
        pthread_join(writer, NULL);
    return m;
}

static void a_stall_is_named(void **state)
{
    (void)state;
    snprintf(pipe_path, sizeof pipe_path, "/tmp/quern-stall-%d.csv", (int)getpid());
    assert_int_equal(mkfifo(pipe_path, 0600), 0);
    quern_set_log(on_log, NULL);
    for (int i = 0; i < n_kinds; i++) {
        const struct kind *k = &kinds[i];
        times = 0;
        slow = false;
        quern__queue_patience = 30;
        quern_model *want = trained(k, k->workers);
        assert_int_equal(times, 0);
        slow = true;
        quern__queue_patience = 0.2;
        quern_model *m = trained(k, k->workers);
        if (times != 1 || strncmp(told, k->where, strlen(k->where)) || !strstr(told, k->first) ||
            !strstr(told, " of 2 batches stand"))
            fail_msg("%s, %d workers: told %d times: %s", k->name, k->workers, times, told);
        check_same(want, m);
        quern_model_free(m);
        times = 0;
        m = trained(k, 0); /* nobody is there to tell */
        assert_int_equal(times, 0);
        check_same(want, m);
        quern_model_free(m);
        quern_model_free(want);
    }
    unlink(pipe_path);
    quern_set_log(NULL, NULL);
}

int main(void)
{
    fill();
    const struct CMUnitTest tests[] = { cmocka_unit_test(a_stall_is_named) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
