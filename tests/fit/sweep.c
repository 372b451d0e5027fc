/* P5, P9, P11 for every kind of source and several families of models: the same weights with any number of workers and any queue,
 * the same as from arrays when nothing is shuffled, and predictions in the order of the records. The slow run does all of the
 * product. */
#include "common.h"

#include <zlib.h>

enum { batch = 10, steps = (records + batch - 1) / batch, epochs = 2 };
static char folder[64];

static const char *const families[] = {
    "input 6 | dense 8 tanh | dropout 0.2 | dense 3 softmax",
    "input 6 | reshape (6,1) | conv1d 4 3 relu | batch_normalization | flatten | dense 3 softmax",
    "input 6 | reshape (6,1) | lstm 5 | dense 3 softmax",
    "input 6 | reshape (6,1) | dense 4 as h | multi_head_attention 2 4 @h @h | flatten | dense 3 softmax",
};
enum { n_families = sizeof families / sizeof *families };

/* ---- files ---- */

static const char *in(const char *name)
{
    static char path[8][128];
    static int at;
    char *p = path[at++ % 8];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    return p;
}

static void npy(FILE *f, bool labels, int from, int n)
{
    char head[128];
    memset(head, ' ', sizeof head);
    memcpy(head, "\x93NUMPY\x01\x00\x76\x00", 10);
    int k = sprintf(head + 10,
                    labels ? "{'descr': '<i4', 'fortran_order': False, 'shape': (%d,), }"
                           : "{'descr': '<f4', 'fortran_order': False, 'shape': (%d, 6), }",
                    n);
    head[10 + k] = ' ';
    head[127] = '\n';
    fwrite(head, 1, sizeof head, f);
    fwrite(labels ? (void *)(ys + from) : (void *)(xs + from * width), 4, (size_t)(labels ? n : n * width), f);
}

/* Rows [from, to) of the table. */
static void rows(const char *name, int from, int to)
{
    gzFile f = gzopen(in(name), strstr(name, ".gz") ? "wb" : "wbT");
    assert_non_null(f);
    gzprintf(f, "a,b,c,d,e,f,y\n");
    for (int i = from; i < to; i++) {
        for (int k = 0; k < width; k++)
            gzprintf(f, "%.9g,", (double)xs[i * width + k]);
        gzprintf(f, "%d\n", ys[i]);
    }
    assert_int_equal(gzclose(f), Z_OK);
}

static int write_files(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/quern-sweep-XXXXXX");
    assert_non_null(mkdtemp(folder));
    rows("all.csv", 0, records);
    rows("all.csv.gz", 0, records);
    rows("1.csv", 0, 41);
    rows("2.csv", 41, records);
    for (int k = 0; k < 2; k++) {
        FILE *f = fopen(in(k ? "y.npy" : "x.npy"), "wb");
        npy(f, k, 0, records);
        assert_int_equal(fclose(f), 0);
        char bytes[4096];
        f = fopen(in(k ? "y.npy" : "x.npy"), "rb");
        size_t n = fread(bytes, 1, sizeof bytes, f);
        fclose(f);
        gzFile z = gzopen(in(k ? "y.npy.gz" : "x.npy.gz"), "wb");
        assert_non_null(z);
        assert_int_equal(gzwrite(z, bytes, (unsigned)n), n);
        gzclose(z);
    }
    FILE *f = fopen(in("stream"), "wb");
    for (int i = 0; i < records; i += batch)
        for (int k = 0; k < 2; k++)
            npy(f, k, i, records - i < batch ? records - i : batch);
    return fclose(f);
}

static int remove_files(void **state)
{
    static const char *const names[] = { "all.csv", "all.csv.gz", "1.csv",    "2.csv", "x.npy",
                                         "y.npy",   "x.npy.gz",   "y.npy.gz", "stream" };
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unlink(in(names[i]));
    return rmdir(folder);
}

/* ---- sources ---- */

static void doze(int64_t record) { usleep((useconds_t)(record * 37 % 200)); }

static int fill_batch(quern_batch *b, int64_t first)
{
    doze(first);
    for (b->size = 0; b->size < batch && first + b->size < records; b->size++) {
        memcpy((float *)b->arrays[0] + b->size * width, xs + (first + b->size) * width, width * sizeof(float));
        if (b->spec->n_targets)
            ((int32_t *)b->arrays[1])[b->size] = ys[first + b->size];
    }
    return QUERN_OK;
}

/* A stream without an end. */
static int next(void *user, quern_batch *b, quern_error *err)
{
    int *at = user;
    (void)err;
    fill_batch(b, *at);
    *at = *at + batch < records ? *at + batch : 0;
    return QUERN_OK;
}

static int loop(quern_yielder *y, void *user)
{
    for (quern_batch *b; (b = quern_next_batch(y));)
        if (next(user, b, NULL) < 0 || quern_yield(y, b) < 0)
            break;
    return QUERN_OK;
}

static int by_number(void *user, quern_batch *b, quern_error *err)
{
    (void)user, (void)err;
    doze(b->indices[0]);
    for (int64_t r = 0; r < b->size; r++) {
        memcpy((float *)b->arrays[0] + r * width, xs + b->indices[r] * width, width * sizeof(float));
        if (b->spec->n_targets)
            ((int32_t *)b->arrays[1])[r] = ys[b->indices[r]];
    }
    return QUERN_OK;
}

static int position; /* of the streams without an end */

static quern_generator *from_array(const char *w) { return (void)w, array(); }
static quern_generator *from_numbers(const char *w) { return (void)w, quern_indexed_generator(by_number, NULL, records); }
static quern_generator *from_callback(const char *w)
{
    return (void)w, quern_callback_generator(&(quern_callback_ops){ .next = next }, &position);
}
static quern_generator *from_function(const char *w) { return (void)w, quern_function_generator(loop, &position); }
static quern_generator *from_program(const char *w) { return quern_program_generator(w, NULL); }
static quern_generator *from_files(const char *w)
{
    return quern_file_generator(w, &(quern_file_opts){ .target = strstr(w, ".csv") ? "y" : NULL }, NULL);
}

static const struct kind {
    const char *words; /* each % is the folder */
    quern_generator *(*open)(const char *words);
    bool many; /* read by several workers; the others refuse more than one */
} kinds[] = {
    { "arrays", from_array, true },
    { "numbers", from_numbers, true },
    { "callback", from_callback },
    { "function", from_function },
    { "x=%/x.npy y=%/y.npy", from_files, true },
    { "x=%/x.npy.gz y=%/y.npy.gz", from_files },
    { "%/all.csv", from_files },
    { "%/all.csv.gz", from_files },
    { "%/1.csv %/2.csv", from_files },
    { "while cat %/stream; do :; done 2>&-", from_program },
};
enum { n_kinds = sizeof kinds / sizeof *kinds };

static quern_generator *opened(const struct kind *k)
{
    char words[400];
    size_t n = 0;
    for (const char *p = k->words; *p; p++)
        n += (size_t)snprintf(words + n, sizeof words - n, *p == '%' ? "%s" : "%.1s", *p == '%' ? folder : p);
    position = 0;
    quern_generator *g = k->open(words);
    if (!g)
        fail_msg("%s", words);
    return g;
}

static quern_model *trained(int family, const struct kind *k, int workers, int queue, bool shuffle)
{
    quern_error err = { 0 };
    quern_model *m = quern_model_from_words(families[family], 7, &err);
    if (!m || quern_compile(m, "adam learning_rate=0.01", "sparse_categorical_crossentropy", "accuracy", &err) < 0)
        fail_msg("%s: %s", err.where, err.text);
    quern_generator *g = opened(k);
    quern_history_free(fit(m, g,
                           (quern_fit_opts){ .epochs = epochs,
                                             .batch_size = batch,
                                             .steps_per_epoch = steps,
                                             .max_queue_size = queue,
                                             .workers = workers,
                                             .no_workers = workers == 0,
                                             .no_shuffle = !shuffle }));
    quern_generator_free(g);
    return m;
}

static void workers_and_queues_change_nothing(void **state)
{
    static const int workers[] = { 0, 1, 3, 2, 8, 16 }, queues[] = { 2, 1, 100 };
    bool all = getenv("QUERN_SLOW") != NULL;
    (void)state;
    for (int f = 0; f < n_families; f++)
        for (int shuffle = 0; shuffle < 2; shuffle++) {
            quern_model *plain = trained(f, &kinds[0], 0, 1, shuffle);
            for (int k = 0; k < n_kinds; k++) {
                if (!all && k % n_families != f)
                    continue;
                quern_model *first = NULL;
                for (int w = 0; w < (!kinds[k].many ? 2 : all ? 6 : 3); w++)
                    for (int q = 0; q < (all ? 3 : 2); q++) {
                        quern_model *m = trained(f, &kinds[k], workers[w], queues[q], shuffle);
                        if (first)
                            check_same(first, m);
                        if (!shuffle)
                            check_same(plain, m);
                        quern_model_free(first ? m : NULL);
                        first = first ? first : m;
                    }
                quern_model_free(first);
            }
            quern_model_free(plain);
        }
}

typedef struct rows_seen {
    int64_t n;
    float out[records * 3];
} rows_seen;

static int keep(void *user, const float *const *out, int64_t n)
{
    rows_seen *r = user;
    memcpy(r->out + r->n * 3, out[0], (size_t)n * 3 * sizeof(float));
    r->n += n;
    return 0;
}

/* P9 */
static void predictions_keep_the_order(void **state)
{
    quern_error err = { 0 };
    (void)state;
    for (int f = 0; f < n_families; f++) {
        static rows_seen want, got;
        quern_model *m = trained(f, &kinds[0], 0, 1, true);
        for (int k = 0; k < n_kinds - 1; k++) { /* but the program, which gives targets too */
            quern_generator *g = opened(&kinds[k]);
            got = (rows_seen){ 0 };
            int64_t n = quern_predict_generator(m, g, batch, steps, keep, &got, &err);
            if (n < 0)
                fail_msg("%s: %s: %s", kinds[k].words, err.where, err.text);
            assert_int_equal(n, records);
            if (k == 0)
                want = got;
            assert_memory_equal(want.out, got.out, sizeof want.out);
            quern_generator_free(g);
        }
        quern_model_free(m);
    }
}

int main(void)
{
    fill();
    const struct CMUnitTest tests[] = { cmocka_unit_test(workers_and_queues_change_nothing),
                                        cmocka_unit_test(predictions_keep_the_order) };
    return cmocka_run_group_tests(tests, write_files, remove_files);
}
