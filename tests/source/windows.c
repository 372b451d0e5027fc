/* Text as models use it: layouts, tokenizers of words and byte pairs, errors by name, any bytes
 * (P19), training, flat memory (P1). */
#include "corpora.h"
#include "source/generator_struct.h"

#include <malloc.h>
#include <stdatomic.h>

static reading r;

/* Allocated bytes: current and peak, of all threads. */
static _Atomic size_t now, most;
static void *count_bytes(void *context, void *old, size_t n)
{
    (void)context;
    now -= old ? malloc_usable_size(old) : 0;
    if (!n) {
        free(old);
        return NULL;
    }
    void *new = realloc(old, n);
    now += new ? malloc_usable_size(new) : 0;
    size_t seen = most, held = now;
    while (held > seen && !atomic_compare_exchange_weak(&most, &seen, held))
        ;
    return new;
}

static void arrays_have_the_layout_of_the_model(void **state)
{
    (void)state;
    static float fx[400], fy[400];
    quern_tokenizer *t = tokenizer("char", "abcdefgh", 8);
    const char *path = file("letters", "abcdefghhgfedcba", 16);
    quern_generator *g = quern_text_generator(path, t, &(quern_text_opts){ .stride = 5 }, &r.err);
    CHECK_OK(begin(&r, g, 4, false, 3, false, 1), r.err);
    assert_int_equal(next(&r), QUERN_OK);
    const int32_t x[] = { 0, 1, 2, 3, 5, 6, 7, 7, 5, 4, 3, 2 },
                  y[] = { 1, 2, 3, 4, 6, 7, 7, 6, 4, 3, 2, 1 };
    assert_int_equal(r.b.size, 3);
    assert_memory_equal(r.x, x, sizeof x);
    assert_memory_equal(r.y, y, sizeof y);
    assert_int_equal(next(&r), QUERN_END);
    r.spec.dtypes[0] = QUERN_FLOAT32; /* ids as floats, one-hot targets (3, 4, 9) */
    r.spec.shapes[1] = (quern_shape){ .rank = 3, .dims = { -1, 4, 9 } };
    r.spec.dtypes[1] = QUERN_FLOAT32;
    r.b.arrays[0] = fx;
    r.b.arrays[1] = fy;
    CHECK_OK(g->ops->open(g, &r.spec, false, 1, &r.err), r.err);
    assert_int_equal(next(&r), QUERN_OK);
    for (int i = 0; i < 12; i++) {
        assert_true(fx[i] == (float)x[i]);
        for (int k = 0; k < 9; k++)
            assert_true(fy[9 * i + k] == (k == y[i]));
    }
    quern_generator_free(g);
    /* the token after the window, one-hot windows; stride 3 is that of Keras's example */
    r.g = g =
        quern_text_generator(path, t, &(quern_text_opts){ .targets = QUERN_TARGETS_LAST }, &r.err);
    r.spec.shapes[0] = (quern_shape){ .rank = 3, .dims = { -1, 4, 8 } };
    r.spec.shapes[1] = (quern_shape){ .rank = 1, .dims = { -1 } };
    r.spec.dtypes[1] = QUERN_INT32;
    r.b.arrays[1] = r.y;
    CHECK_OK(g->ops->open(g, &r.spec, false, 1, &r.err), r.err);
    assert_int_equal(next(&r), QUERN_OK);
    assert_true(r.b.size == 3 && r.y[0] == 4 && r.y[1] == 7 && r.y[2] == 5);
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < 8; k++)
            assert_true(fx[8 * i + k] == (k == i));
    quern_generator_free(g);
    quern_tokenizer_free(t);
}

/* Words with spaces, some of them several, and letters of two bytes. */
static size_t write_words(char *text, size_t n)
{
    size_t at = 0;
    for (uint32_t seed = 1; at + 40 < n; seed = seed * 1664525u + 1013904223u)
        at += (size_t)sprintf(text + at, "%s%s%s", seed >> 28 ? "" : "  \n",
                              seed >> 25 & 1   ? "the"
                              : seed >> 26 & 1 ? "né"
                                               : "other",
                              seed >> 30 ? " " : "'s, ");
    return at;
}

/* The first tokens of windows with stride 1 are the tokens of the text, for any tokenizer. */
static void tokens_are_independent_of_blocks(void **state)
{
    (void)state;
    enum { n = 30000 };
    static char text[n];
    static int32_t ids[n];
    size_t length = write_words(text, n), used;
    const char *const kinds[] = { "char", "word vocab_size=50", "bpe vocab_size=300" };
    for (int k = 0; k < 3; k++) {
        quern_tokenizer *t = tokenizer(kinds[k], text, length);
        int64_t all = quern_tokenizer_encode(t, text, length, 1, ids, n, &used, &r.err), at = 0;
        assert_true(all > 1000 && used == length);
        const char *names[] = { "words", "words.gz" };
        for (int f = 0; f < 2; f++) {
            quern_generator *g =
                quern_text_generator(file(names[f], text, length), t,
                                     &(quern_text_opts){ .stride = 1, .memory = 6000 }, &r.err);
            CHECK_OK(begin(&r, g, 30, false, 64, false, 1), r.err);
            for (at = 0; next(&r) == QUERN_OK; at += r.b.size)
                for (int i = 0; i < r.b.size; i++) {
                    assert_memory_equal(r.x + 30 * i, ids + at + i, 30 * sizeof *ids);
                    assert_memory_equal(r.y + 30 * i, ids + at + i + 1, 30 * sizeof *ids);
                }
            assert_int_equal(at, all - 30);
            quern_generator_free(g);
        }
        quern_tokenizer_free(t);
    }
}

static void errors_name_their_cause(void **state)
{
    (void)state;
    static char text[20000];
    quern_tokenizer *t = tokenizer("char", "abc ", 4);
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = "abc "[i * i % 4];
    const char *good = file("good.txt", text, sizeof text);
    text[11111] = (char)0xff;
    const struct {
        const char *path, *where, *what;
        quern_text_opts o;
    } cases[] = {
        { file("bad.txt", text, sizeof text), "bad.txt: from byte 11111", "is not UTF-8", { 0 } },
        { file("bad.txt.gz", text, sizeof text),
          "bad.txt.gz: from byte 11111",
          "is not UTF-8",
          { .memory = 4000 } },
        { "/nowhere.txt", "/nowhere.txt", "cannot be opened", { 0 } },
        { folder, folder, "is a directory", { 0 } },
        { good, "memory", "bytes", { .memory = 600 } },
        { good, "window", "out of range", { .window = -1 } },
        { good, "targets", "out of range", { .targets = 7 } },
        { good, "good.txt", "windows of 9 tokens, the model expects (None, 8)", { .window = 9 } },
        { good,
          "good.txt",
          "targets of 1 tokens, the model expects (None, 8)",
          { .targets = QUERN_TARGETS_LAST } },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        r.err = (quern_error){ 0 };
        quern_generator *g = quern_text_generator(cases[i].path, t, &cases[i].o, &r.err);
        quern_error first = r.err;
        int status = g ? begin(&r, g, 8, false, 16, true, 1) : first.code;
        while (status == QUERN_OK)
            status = next(&r);
        r.err = g ? r.err : first;
        if (status >= 0 || !strstr(r.err.where, cases[i].where) ||
            !strstr(r.err.text, cases[i].what))
            fail_msg("case %zu: %d, %s: %s", i, status, r.err.where, r.err.text);
        quern_generator_free(g);
    }
    quern_generator *g = quern_text_generator(good, t, NULL, &r.err);
    begin(&r, g, 8, false, 16, true, 1);
    r.spec.n_inputs = 2;
    assert_int_equal(g->ops->open(g, &r.spec, true, 1, &r.err), QUERN_UNSUPPORTED);
    r.spec.n_inputs = 1;
    r.spec.dtypes[0] = QUERN_FLOAT32;
    r.spec.shapes[0] = (quern_shape){ .rank = 3, .dims = { -1, 8, 3 } };
    r.err = (quern_error){ 0 };
    assert_int_equal(g->ops->open(g, &r.spec, true, 1, &r.err), QUERN_SHAPE);
    assert_non_null(strstr(r.err.text, "the tokenizer has 4 tokens"));
    quern_generator_free(g);
    quern_tokenizer_free(t);
}

/* P19: random bytes of any length give windows whose tokens are the bytes, or no windows, each
 * at most once. */
static void random_bytes_do_not_crash(void **state)
{
    (void)state;
    static char noise[5000], back[64];
    quern_tokenizer *kinds[] = { tokenizer("char bytes=true", "abc", 3),
                                 tokenizer("bpe vocab_size=256", "abc", 3),
                                 tokenizer("word", "a b c", 5) };
    uint32_t seed = 7;
    for (size_t n = 0; n < sizeof noise; n += 1 + n / 7) {
        for (size_t i = 0; i < n; i++)
            noise[i] = (char)((seed = seed * 1664525u + 1013904223u) >> (n & 1 ? 24 : 29)
                                                                            << (n & 2 ? 5 : 0));
        for (int k = 0; k < 3; k++)
            for (int f = 0; f < 2; f++) {
                quern_generator *g =
                    quern_text_generator(file(f ? "noise.gz" : "noise", noise, n), kinds[k],
                                         &(quern_text_opts){ .stride = 1, .memory = 4096 }, &r.err);
                size_t at = 0;
                CHECK_OK(begin(&r, g, 6, false, 16, false, 1), r.err);
                for (int status; (status = next(&r)) != QUERN_END; at += (size_t)r.b.size) {
                    CHECK_OK(status, r.err);
                    for (int i = 0; i < r.b.size && k < 2; i++) {
                        assert_int_equal(quern_tokenizer_decode(kinds[k], r.x + 6 * i, 1, back,
                                                                sizeof back, &r.err),
                                         1);
                        assert_int_equal(back[0], noise[at + (size_t)i]);
                    }
                }
                assert_true(k == 2 || at == (n < 7 ? 0 : n - 6));
                quern_generator_free(g);
            }
    }
    for (int k = 0; k < 3; k++)
        quern_tokenizer_free(kinds[k]);
}

/* A pipe as standard input is read once, sequentially, with all windows. */
static void pipes_are_read_once(void **state)
{
    (void)state;
    enum { n = 20000 };
    static char text[n];
    int ends[2], kept = dup(STDIN_FILENO);
    size_t length = write_words(text, n), at = 0;
    uint8_t bytes[128];
    quern_tokenizer *t = tokenizer("char", text, length);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], text, length), (ssize_t)length);
    assert_true(!close(ends[1]) && dup2(ends[0], STDIN_FILENO) == STDIN_FILENO && !close(ends[0]));
    quern_generator *g =
        quern_text_generator("-", t, &(quern_text_opts){ .stride = 1, .memory = 4000 }, &r.err);
    CHECK_OK(begin(&r, g, 5, false, 16, true, 1), r.err);
    CHECK_OK(g->ops->reset(g, 0, &r.err), r.err);
    for (int status; (status = next(&r)) != QUERN_END; at += (size_t)r.b.size)
        CHECK_OK(status, r.err);
    assert_true(at > length * 2 / 3 && at < length &&
                !g->finite); /* "né" has more bytes than characters */
    assert_int_equal(g->ops->reset(g, 1, &r.err), QUERN_IO);
    assert_int_equal(quern_generator_save(g, bytes, sizeof bytes, &at, &r.err), QUERN_UNSUPPORTED);
    quern_generator_free(g);
    quern_tokenizer_free(t);
    assert_int_equal(dup2(kept, STDIN_FILENO), STDIN_FILENO);
    close(kept);
}

static void text_readers_read_all_files(void **state)
{
    (void)state;
    char words[300], got[64] = "", part[4];
    int64_t n;
    size_t have = 0;
    const char *a = file("a.txt", "first ", 6), *b = file("b.gz", "second", 6);
    snprintf(words, sizeof words, "%s %s %s", a, file("empty", "", 0), b);
    quern_text_reader *reader = quern_text_reader_open(words, &r.err);
    for (; (n = quern_text_reader_read(reader, part, sizeof part, &r.err)) > 0; have += (size_t)n)
        memcpy(got + have, part, (size_t)n);
    assert_int_equal(n, 0);
    assert_string_equal(got, "first second");
    quern_text_reader_close(reader);
    assert_null(quern_text_reader_open("/nowhere", &r.err));
    quern_tokenizer *t = NULL;
    reader = quern_text_reader_open(words, &r.err);
    t = quern_tokenizer_train("char", quern_text_reader_read, reader, &r.err);
    assert_int_equal(quern_tokenizer_size(t), 11); /* " cdefinorst" */
    quern_tokenizer_free(t);
    quern_text_reader_close(reader);
}

/* Any queue gives bit-identical weights, and a state restored inside an epoch gives its rest. */
static void training_is_independent_of_the_queue(void **state)
{
    (void)state;
    static char text[4000];
    quern_model *want = NULL;
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)('a' + i % 7);
    quern_tokenizer *t = tokenizer("char", text, sizeof text);
    const char *path = file("cycle.txt", text, sizeof text);
    for (int k = 0; k < 4; k++) {
        quern_error err = { 0 };
        quern_model *m = quern_model_from_spec(
            "input 4 | rescaling 1/6 | dense 32 relu | dense 7 softmax", 3, &err);
        assert_true(m && quern_compile(m, "adam learning_rate=0.01",
                                       "sparse_categorical_crossentropy", "accuracy", &err) >= 0);
        quern_generator *g = quern_text_generator(
            path, t, &(quern_text_opts){ .targets = QUERN_TARGETS_LAST, .memory = 4000 }, &err);
        quern_fit_opts o = { .epochs = 3,
                             .max_queue_size = k == 3 ? 100 : k,
                             .no_workers = k == 0,
                             .steps_per_epoch = 50 };
        quern_history *h = quern_fit_generator(m, g, &o, &err);
        if (!h || err.code)
            fail_msg("%s: %s", err.where, err.text);
        assert_true(quern_history_value(h, "accuracy", 2) > 0.9);
        quern_history_free(h);
        double logs[8];
        int64_t samples = quern_evaluate_generator(m, g, 32, 0, logs, &err);
        assert_true(samples > 1335 && samples < 1345 && logs[1] > 0.9);
        quern_generator_free(g);
        for (int i = 0; want && i < quern_model_weights(m); i++) {
            quern_tensor u = quern_model_weight(want, i, NULL), v = quern_model_weight(m, i, NULL);
            assert_memory_equal(u.data, v.data,
                                sizeof(float) * (size_t)quern_shape_count(&u.shape));
        }
        if (want)
            quern_model_free(m);
        else
            want = m;
    }
    quern_model_free(want);
    quern_tokenizer_free(t);
}

/* P1: a long text needs the same memory as a fiftieth of it (QUERN_SLOW: a two-hundredth, 200
 * MB), within its limit. */
static void memory_is_flat(void **state)
{
    (void)state;
    enum { part = 1 << 20 };
    int parts[2] = { 1, getenv("QUERN_SLOW") ? 200 : 50 };
    char *text = malloc(part), path[100];
    assert_non_null(text);
    write_words(text, part);
    for (size_t i = strlen(text); i < part; i++)
        text[i] = ' ';
    quern_tokenizer *t = tokenizer("char", text, part);
    size_t peaks[2];
    for (int k = 0; k < 2; k++) {
        snprintf(path, sizeof path, "%s/long", folder);
        FILE *f = fopen(path, "wb");
        for (int i = 0; f && i < parts[k]; i++)
            assert_int_equal(fwrite(text, part, 1, f), 1);
        assert_true(f && !fclose(f));
        most = now;
        size_t before = now;
        quern_generator *g = quern_text_generator(path, t, NULL, &r.err);
        CHECK_OK(begin(&r, g, 100, false, 64, true, 1), r.err);
        int64_t n = 0;
        for (; next(&r) == QUERN_OK; n += r.b.size)
            ;
        assert_true(n > (int64_t)parts[k] * part / 110);
        quern_generator_free(g);
        peaks[k] = most - before;
    }
    size_t gap =
        peaks[0] > peaks[1] ? peaks[0] - peaks[1] : peaks[1] - peaks[0]; /* malloc rounds sizes */
    assert_true(gap <= 4096 && peaks[1] < 5 << 20);
    printf("%zu bytes for %d MiB and for %d\n", peaks[1], parts[0], parts[1]);
    quern_tokenizer_free(t);
    free(text);
}

int main(void)
{
    quern_set_memory(count_bytes, NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arrays_have_the_layout_of_the_model),
        cmocka_unit_test(tokens_are_independent_of_blocks),
        cmocka_unit_test(errors_name_their_cause),
        cmocka_unit_test(random_bytes_do_not_crash),
        cmocka_unit_test(text_readers_read_all_files),
        cmocka_unit_test(training_is_independent_of_the_queue),
        cmocka_unit_test(memory_is_flat),
        cmocka_unit_test(pipes_are_read_once),
    };
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
