/* Text generation: incremental steps equal predictions of whole windows; generated texts depend
 * on the seed only (P5, P18); unsupported models are errors. Expected logits come from predict,
 * which other tests compare with Keras. */
#include "check.h"
#include "tensors.h"

#include <math.h>
#include <quern/quern.h>
#include <stdbool.h>
#include <unistd.h>

enum { symbols = 23, window = 40 };

static const char gpt[] = "input 40 name=tokens | embedding 23 16 as t | input 40 name=positions | "
                          "embedding 40 16 | add @t as x"
                          " | layer_normalization | multi_head_attention 2 8 causal | add @x as y "
                          "| layer_normalization | dense 32 gelu"
                          " | dense 16 | add @y | layer_normalization | dense 23";
static const char grouped[] = "input 40 | embedding 23 16 as x | group_query_attention 4 4 2 "
                              "causal | add @x | rms_normalization | dense 23";
static const char *const stepping[] = {
    "input 40 | embedding 23 8 | lstm 24 sequences | dense 23",
    "input 40 | embedding 23 8 | gru 24 sequences | gru 16 sequences reset_after=false | dense 23",
    "input 40 23 | simple_rnn 24 sequences | time_distributed dense(12, activation=relu) | dropout "
    "0.5 | dense 23 softmax",
    "input 40 | embedding 23 8 | lstm 24 sequences activation=relu | dense 23",
    gpt,
    grouped,
};

static quern_model *model(const char *words)
{
    quern_error err = { 0 };
    quern_model *m = quern_model_from_spec(words, 5, &err);
    if (!m)
        fail_msg("%s: %s: %s", words, err.where, err.text);
    return m;
}

static int32_t token(int i) { return (int32_t)((i * 7919u + 13u) % symbols); }

/* Log-probabilities that predict gives for the token after `n` tokens from `first` on; the rest
 * of the window is zero. */
static void predicted(quern_model *m, int first, int n, double *out)
{
    quern_error err = { 0 };
    static float x[window * symbols], places[window];
    quern_shape in = quern_model_input_shape(m, 0), shape = quern_model_output_shape(m, 0);
    const float *y;
    memset(x, 0, sizeof x);
    for (int k = 0; k < window; k++) {
        int32_t id = k < n ? token(first + k) : 0;
        if (in.rank == 3)
            x[k * symbols + id] = 1;
        else
            x[k] = (float)id;
        places[k] = (float)k;
    }
    quern_tensor inputs[2] = { { .dtype = QUERN_FLOAT32, .shape = in, .data = x },
                               FLOATS(places, 1, window) };
    inputs[0].shape.dims[0] = 1;
    CHECK_OK(quern_predict_on_batch(m, inputs, &y, &err), err);
    y += shape.rank == 3 ? (n - 1) * symbols : 0;
    double sum = 0;
    for (int i = 0; i < symbols; i++)
        sum += exp(y[i]);
    double total = 0;
    for (int i = 0; i < symbols; i++)
        total += y[i];
    bool probabilities = fabs(total - 1) < 1e-4 && y[0] >= 0;
    for (int i = 0; i < symbols; i++)
        out[i] = probabilities ? log((double)y[i]) : y[i] - log(sum);
}

static void compare(const char *words, quern_model *m, quern_decoder *s, int first, int n,
                    const float *logits)
{
    double want[symbols], sum = 0;
    float kept[symbols];
    memcpy(kept, logits, sizeof kept); /* predict overwrites the logits */
    predicted(m, first, n, want);
    for (int i = 0; i < symbols; i++)
        sum += exp((double)kept[i]);
    for (int i = 0; i < symbols; i++)
        if (!(fabs(kept[i] - log(sum) - want[i]) < 2e-4))
            fail_msg("%s: %d tokens, logit %d is %g, expected %g", words, n, i, kept[i] - log(sum),
                     want[i]);
    (void)s;
}

static void steps_equal_whole_windows(void **state)
{
    (void)state;
    quern_error err = { 0 };
    for (size_t k = 0; k < sizeof stepping / sizeof *stepping; k++) {
        quern_model *m = model(stepping[k]);
        quern_decoder *s = quern_decoder_new(m, 1, QUERN_CONTEXT_SLIDE, &err);
        if (!s)
            fail_msg("%s: %s", stepping[k], err.text);
        assert_null(quern_decoder_blocking_layer(s));
        assert_int_equal(quern_decoder_vocabulary(s), symbols);
        assert_int_equal(quern_decoder_context(s), k >= 4 ? window : 0);
        const float *logits;
        for (int n = 1; n <= window; n++) { /* single steps */
            int32_t id = token(n - 1);
            CHECK_OK(quern_decoder_feed(s, &id, 1, &logits, &err), err);
            compare(stepping[k], m, s, 0, n, logits);
        }
        for (int n = 33; n <= window; n += 7) { /* chunks */
            int32_t ids[window];
            for (int i = 0; i < n; i++)
                ids[i] = token(i);
            quern_decoder_reset(s);
            CHECK_OK(quern_decoder_feed(s, ids, n, &logits, &err), err);
            compare(stepping[k], m, s, 0, n, logits);
        }
        quern_decoder_free(s);
        quern_model_free(m);
    }
}

static void a_full_context_slides_or_stops(void **state)
{
    (void)state;
    quern_error err = { 0 };
    quern_model *m = model(gpt);
    const float *logits = NULL;
    for (int policy = 0; policy < 2; policy++) {
        quern_decoder *s =
            quern_decoder_new(m, 1, policy ? QUERN_CONTEXT_STOP : QUERN_CONTEXT_SLIDE, &err);
        for (int n = 0; n < window; n++)
            CHECK_OK(quern_decoder_feed(s, &(int32_t){ token(n) }, 1, &logits, &err), err);
        int status = quern_decoder_feed(s, &(int32_t){ token(window) }, 1, &logits, &err);
        assert_int_equal(status, policy ? QUERN_END : QUERN_OK);
        if (!policy) /* the newer half, and the next token */
            compare(gpt, m, s, window / 2, window / 2 + 1, logits);
        quern_decoder_free(s);
    }
    quern_model_free(m);
}

static void models_without_steps_use_whole_windows(void **state)
{
    (void)state;
    quern_error err = { 0 };
    static const char *const words[] = {
        "input 40 | embedding 23 8 | bidirectional lstm(8) | dense 23 softmax",
        "input 40 | embedding 23 8 as x | multi_head_attention 2 4 | flatten | dense 23"
    };
    for (int k = 0; k < 2; k++) {
        quern_model *m = model(words[k]);
        quern_decoder *s = quern_decoder_new(m, 1, QUERN_CONTEXT_SLIDE, &err);
        const float *logits;
        int32_t ids[window + 1];
        for (int i = 0; i <= window; i++)
            ids[i] = token(i);
        assert_non_null(s);
        assert_non_null(quern_decoder_blocking_layer(s));
        assert_int_equal(quern_decoder_feed(s, ids, 3, &logits, &err), QUERN_INVALID);
        assert_non_null(strstr(err.text, "needs 40"));
        err = (quern_error){ 0 };
        quern_decoder_reset(s);
        CHECK_OK(quern_decoder_feed(s, ids, window, &logits, &err), err);
        compare(words[k], m, s, 0, window, logits);
        CHECK_OK(quern_decoder_feed(s, ids + window, 1, &logits, &err), err);
        compare(words[k], m, s, 1, window, logits);
        quern_decoder_free(s);
        quern_model_free(m);
    }
}

static void a_batch_of_texts_equals_single_texts(void **state)
{
    (void)state;
    quern_error err = { 0 };
    for (size_t k = 0; k < sizeof stepping / sizeof *stepping; k++) {
        quern_model *m = model(stepping[k]);
        quern_decoder *three = quern_decoder_new(m, 3, QUERN_CONTEXT_SLIDE, &err),
                      *one = quern_decoder_new(m, 1, 0, &err);
        const float *logits;
        float kept[3 * symbols];
        int32_t ids[3 * 5];
        for (int i = 0; i < 15; i++)
            ids[i] = token(i * 3);
        CHECK_OK(quern_decoder_feed(three, ids, 5, &logits, &err), err);
        CHECK_OK(quern_decoder_reorder(three, (int32_t[]){ 2, 0, 2 }, &err), err);
        CHECK_OK(quern_decoder_feed(three, (int32_t[]){ 1, 2, 3 }, 1, &logits, &err), err);
        memcpy(kept, logits, sizeof kept);
        for (int t = 0; t < 3; t++) {
            quern_decoder_reset(one);
            CHECK_OK(quern_decoder_feed(one, ids + (t == 1 ? 0 : 10), 5, &logits, &err), err);
            CHECK_OK(quern_decoder_feed(one, &(int32_t){ t + 1 }, 1, &logits, &err), err);
            for (int i = 0; i < symbols; i++)
                CHECK_NEAR(kept[t * symbols + i], logits[i], 1e-4, 1e-5);
        }
        quern_decoder_free(three);
        quern_decoder_free(one);
        quern_model_free(m);
    }
}

/* ---- texts ---- */

static const char corpus[] = "the mill grinds: a handful at a time, ño mäs é";

typedef struct piece_reader {
    size_t at;
} piece_reader;

static int64_t read_corpus(void *user, char *to, int64_t room, quern_error *err)
{
    piece_reader *r = user;
    size_t n = sizeof corpus - 1 - r->at;
    (void)err;
    n = n > (size_t)room ? (size_t)room : n;
    memcpy(to, corpus + r->at, n);
    r->at += n;
    return (int64_t)n;
}

static quern_tokenizer *tokenizer(const char *words)
{
    quern_error err = { 0 };
    piece_reader r = { 0 };
    quern_tokenizer *t = quern_tokenizer_train(words, read_corpus, &r, &err);
    if (!t)
        fail_msg("%s: %s", words, err.text);
    return t;
}

static quern_model *language_model(const char *kind, const char *end)
{
    quern_error err = { 0 };
    char words[200];
    quern_tokenizer *t = tokenizer(kind);
    int size = (int)quern_tokenizer_size(t);
    snprintf(words, sizeof words, "input 32 | embedding %d 16 | lstm 48 sequences | dense %d%s",
             size, size, end);
    quern_model *m = model(words);
    CHECK_OK(quern_model_set_tokenizer(m, t, &err), err);
    quern_tokenizer_free(t);
    return m;
}

typedef struct collected {
    char text[4096];
    size_t n;
    int calls;
} collected;

/* Collects the text and checks that no call splits a UTF-8 character. */
static int collect_whole_characters(void *user, int64_t text, int32_t id, const char *bytes,
                                    size_t size)
{
    collected *w = user;
    (void)text, (void)id;
    assert_false(size && w->n && (unsigned char)w->text[w->n - 1] >= 0xc2 &&
                 (unsigned char)w->text[w->n - 1] < 0xf5 &&
                 ((unsigned char)bytes[0] & 0xc0) == 0x80);
    memcpy(w->text + w->n, bytes, size);
    w->n += size;
    w->calls++;
    return 0;
}

static int collect(void *user, int64_t text, int32_t id, const char *bytes, size_t size)
{
    collected *w = user;
    (void)text, (void)id;
    memcpy(w->text + w->n, bytes, size);
    w->n += size;
    return 0;
}

static char *generated_text(quern_model *m, const quern_generate_opts *o)
{
    quern_error err = { 0 };
    quern_generated out;
    CHECK_OK(quern_generate(m, "the mill", o, &out, &err), err);
    assert_int_equal(strlen(out.text), out.size);
    return out.text;
}

static void equal_seeds_give_equal_texts(void **state)
{
    (void)state;
    quern_error err = { 0 };
    quern_model *m = language_model("char", ""), *inside = language_model("char", " softmax");
    quern_sampling s = QUERN_SAMPLING_DEFAULTS;
    s.temperature = 0.8;
    collected w = { .n = 0 };
    quern_generate_opts o = {
        .length = 120, .sampling = &s, .seed = 4, .token = collect_whole_characters, .user = &w
    };
    char *first = generated_text(m, &o);
    assert_int_equal(w.calls, 120);
    assert_int_equal(w.n, strlen(first));
    assert_memory_equal(w.text, first, w.n);
    o.token = NULL;
    for (int threads = 1; threads <= 3; threads++) {
        CHECK_OK(quern_model_set_threads(m, threads, &err), err);
        char *again = generated_text(m, &o);
        assert_string_equal(first, again);
        free(again);
    }
    char *softmax = generated_text(inside, &o);
    assert_string_equal(first, softmax);
    o.seed = 5;
    char *other = generated_text(m, &o);
    assert_string_not_equal(first, other);
    quern_generated both[2];
    o.seed = 4;
    o.count = 2;
    CHECK_OK(quern_generate(m, "the mill", &o, both, &err), err);
    assert_string_equal(first, both[0].text);
    assert_string_not_equal(both[0].text, both[1].text);
    for (int i = 0; i < 2; i++)
        free(both[i].text);
    free(first);
    free(softmax);
    free(other);
    quern_model_free(m);
    quern_model_free(inside);
}

static void stop_strings_end_a_text(void **state)
{
    (void)state;
    quern_model *m = language_model("bpe vocab_size=270", "");
    collected all = { .n = 0 }, w = { .n = 0 };
    quern_generate_opts o = {
        .length = 200, .seed = 2, .token = collect_whole_characters, .user = &all
    };
    char *whole = generated_text(m, &o);
    assert_true(strlen(whole) > 40 && all.calls == 200);
    char stop[4] = { 0 };
    size_t at = 20;
    memcpy(stop, whole + at, 3);
    at = (size_t)(strstr(whole, stop) - whole);
    o.stop = (const char *[]){ "no such string", stop };
    o.n_stop = 2;
    o.token = collect;
    o.user = &w;
    char *cut = generated_text(m, &o);
    assert_int_equal(strlen(cut), at);
    assert_memory_equal(cut, whole, at);
    assert_int_equal(w.n, at);
    free(whole);
    free(cut);
    quern_model_free(m);
}

static double log_probability(quern_model *m, const char *text)
{
    quern_error err = { 0 };
    quern_decoder *s = quern_decoder_new(m, 1, 0, &err);
    int32_t ids[256];
    size_t used;
    char all[300];
    const float *logits;
    double sum = 0;
    snprintf(all, sizeof all, "the mill%s", text);
    int64_t prompt = quern_tokenizer_encode(quern_model_tokenizer(m), "the mill", 8, 1, ids, 256,
                                            &used, &err),
            n = quern_tokenizer_encode(quern_model_tokenizer(m), all, strlen(all), 1, ids, 256,
                                       &used, &err);
    CHECK_OK(quern_decoder_feed(s, ids, prompt, &logits, &err), err);
    for (int64_t i = prompt; i < n; i++) {
        double total = 0;
        for (int64_t k = 0; k < quern_decoder_vocabulary(s); k++)
            total += exp((double)logits[k]);
        sum += logits[ids[i]] - log(total);
        CHECK_OK(quern_decoder_feed(s, &ids[i], 1, &logits, &err), err);
    }
    quern_decoder_free(s);
    return sum;
}

static void beam_search_finds_more_probable_texts(void **state)
{
    (void)state;
    quern_model *m = language_model("char", "");
    quern_sampling s = QUERN_SAMPLING_DEFAULTS;
    s.temperature = 0;
    char *greedy = generated_text(m, &(quern_generate_opts){ .length = 12, .sampling = &s });
    char *one = generated_text(m, &(quern_generate_opts){ .length = 12, .beams = 1 });
    char *many = generated_text(m, &(quern_generate_opts){ .length = 12, .beams = 8 });
    assert_string_equal(greedy, one);
    assert_true(log_probability(m, many) >= log_probability(m, greedy) - 1e-6);
    free(greedy);
    free(one);
    free(many);
    quern_model_free(m);
}

static void errors_name_their_cause(void **state)
{
    (void)state;
    quern_error err = { 0 };
    quern_generated out;
    quern_model *bare = model(stepping[0]), *m = language_model("char", ""),
                *image = model("input 8 8 3 | flatten | dense 4");
    assert_int_equal(quern_generate(bare, "x", NULL, &out, &err), QUERN_INVALID);
    assert_non_null(strstr(err.text, "no tokenizer"));
    err = (quern_error){ 0 };
    quern_tokenizer *large = tokenizer("bpe vocab_size=270");
    assert_int_equal(
        quern_generate(bare, "x", &(quern_generate_opts){ .tokenizer = large }, &out, &err),
        QUERN_SHAPE);
    err = (quern_error){ 0 };
    assert_true(quern_generate(m, "Q", NULL, &out, &err) <
                0); /* the character is not in the vocabulary */
    err = (quern_error){ 0 };
    assert_null(quern_decoder_new(image, 1, 0, &err));
    err = (quern_error){ 0 };
    quern_tensor kernel = quern_model_weight(m, 1, NULL);
    ((float *)kernel.data)[0] = NAN;
    assert_int_equal(quern_generate(m, "the", NULL, &out, &err), QUERN_NUMBER);
    assert_non_null(strstr(err.text, "token 1"));
    quern_tokenizer_free(large);
    quern_model_free(bare);
    quern_model_free(m);
    quern_model_free(image);
}

static void model_files_contain_the_tokenizer(void **state)
{
    (void)state;
    quern_error err = { 0 };
    char path[] = "/tmp/quern-speak-XXXXXX";
    int fd = mkstemp(path);
    quern_model *m = language_model("bpe vocab_size=300", "");
    CHECK_OK(quern_model_save(m, path, &err), err);
    quern_model *n = quern_model_open(path, &err);
    if (!n || !quern_model_tokenizer(n))
        fail_msg("%s: %s", err.where, err.text);
    char *a = generated_text(m, &(quern_generate_opts){ .length = 50 }),
         *b = generated_text(n, &(quern_generate_opts){ .length = 50 });
    assert_string_equal(a, b);
    CHECK_OK(quern_model_set_tokenizer(n, NULL, &err), err);
    assert_null(quern_model_tokenizer(n));
    free(a);
    free(b);
    quern_model_free(m);
    quern_model_free(n);
    close(fd);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_equal_whole_windows),
        cmocka_unit_test(a_full_context_slides_or_stops),
        cmocka_unit_test(models_without_steps_use_whole_windows),
        cmocka_unit_test(a_batch_of_texts_equals_single_texts),
        cmocka_unit_test(equal_seeds_give_equal_texts),
        cmocka_unit_test(stop_strings_end_a_text),
        cmocka_unit_test(beam_search_finds_more_probable_texts),
        cmocka_unit_test(errors_name_their_cause),
        cmocka_unit_test(model_files_contain_the_tokenizer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
