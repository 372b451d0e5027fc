/* Invalid calls, each in its own process: a NULL or a number out of range is an error that names
 * the argument, or returns 0, NULL or NaN if the call has no error; the process never crashes. */
#include "check.h"
#include "tensors.h"

#include <math.h>
#include <quern/quern.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

static float x[64];
static int32_t y[64];
static const float *outputs[4];
static double logs[8];
static size_t size;
static quern_beam best[4];
static quern_generated written;
static quern_tensor array = { .dtype = QUERN_FLOAT32,
                              .shape = { .rank = 2, .dims = { 8, 4 } },
                              .data = x },
                    labels = { .dtype = QUERN_INT32,
                               .shape = { .rank = 2, .dims = { 8, 1 } },
                               .data = y },
                    none, two[2];

static quern_model *fresh(void)
{
    return quern_model_from_spec("input 4 | dense 3 relu | dense 2 softmax", 1, NULL);
}

static quern_model *ready(void)
{
    quern_model *m = fresh();
    quern_compile(m, "adam", "sparse_categorical_crossentropy", "accuracy", NULL);
    return m;
}

static int zeros(void *user, quern_batch *b, quern_error *err)
{
    (void)user, (void)err;
    memset(b->arrays[0], 0, sizeof(float) * 4 * (size_t)b->size);
    if (b->spec->n_targets)
        memset(b->arrays[1], 0, sizeof(int32_t) * (size_t)b->size);
    return QUERN_OK;
}

static int odd(void *user, quern_batch *b, quern_error *err) { return zeros(user, b, err), 77; }

static int odd_function(quern_yielder *yielder, void *arg)
{
    (void)yielder, (void)arg;
    return 77;
}

static int read_none(void *user, quern_batch *b, quern_error *err) { return zeros(user, b, err); }
static int give(void *user, const float *const *out, int64_t n)
{
    return (void)user, (void)out, (void)n, 0;
}

static quern_generator *generator(int (*next)(void *, quern_batch *, quern_error *))
{
    return quern_callback_generator(&(quern_callback_ops){ .next = next }, NULL);
}

static quern_tokenizer *tokenizer(void)
{
    static const char json[] = "{\"model\": {\"type\": \"WordLevel\", \"vocab\": {\"a\": 0, \"b\": "
                               "1}, \"unk_token\": \"a\"}}";
    return quern_tokenizer_from_json(json, sizeof json - 1, NULL);
}

/* ---- the calls ---- */

typedef struct call {
    bool none;         /* an upper bound of the number of calls */
    const char *name;  /* the call as written */
    const char *where; /* the name in the expected error; NULL: the call has no error argument */
    bool failed;
} call;

/* A call that returns a status, a call that creates an object, and a getter. */
#define STATUS(place, ...) \
    if (i == n++)          \
        return (call){ .name = #__VA_ARGS__, .where = place, .failed = (__VA_ARGS__) < 0 };
#define MAKER(place, ...) \
    if (i == n++)         \
        return (call){ .name = #__VA_ARGS__, .where = place, .failed = !(__VA_ARGS__) };
#define GETTER(...) MAKER(NULL, __VA_ARGS__)
#define FIT(g, ...) \
    quern_fit_generator(ready(), g, &(quern_fit_opts){ .steps_per_epoch = 2, __VA_ARGS__ }, err)

static call wrong_model(int i, quern_error *err)
{
    int n = 0;
    MAKER("pipeline", quern_model_from_spec(NULL, 1, err))
    MAKER("pipeline", quern_model_from_spec("", 1, err))
    MAKER("pipeline", quern_model_from_spec("input 4", 1, err))
    MAKER("pipeline", quern_model_from_spec("input 4 as a | input 4", 1, err))
    MAKER("blueprint", quern_model_new(NULL, (int[]){ 0 }, 1, (int[]){ 0 }, 1, err))
    MAKER("inputs", quern_model_new(quern_blueprint_new(1), NULL, 1, (int[]){ 0 }, 1, err))
    MAKER("outputs", quern_model_new(quern_blueprint_new(1), (int[]){ 0 }, 1, NULL, 1, err))
    STATUS(NULL, quern_input(NULL, "4"))
    STATUS(NULL, quern_input(quern_blueprint_new(1), NULL))
    STATUS(NULL, quern_apply(quern_blueprint_new(1), "dense 1", 7))
    STATUS(NULL, quern_apply(quern_blueprint_new(1), NULL, 0))
    STATUS(NULL, quern_apply_n(quern_blueprint_new(1), "add", NULL, 2))
    STATUS(NULL, quern_apply_n(quern_blueprint_new(1), "add", (int[]){ 0 }, -1))
    STATUS(NULL, quern_apply_again(quern_blueprint_new(1), 0, NULL, 1))
    STATUS(NULL, quern_apply_model(quern_blueprint_new(1), NULL, NULL, (int[]){ 0 }, 1))
    STATUS(NULL, quern_apply_model(quern_blueprint_new(1), fresh(), NULL, NULL, 1))
    STATUS("model", quern_compile(NULL, "adam", "mse", NULL, err))
    STATUS("optimizer", quern_compile(fresh(), NULL, NULL, NULL, err))
    STATUS("model", quern_train_on_batch(NULL, &array, &labels, NULL, logs, err))
    STATUS("model", quern_train_on_batch(fresh(), &array, &labels, NULL, logs, err))
    STATUS("x", quern_train_on_batch(ready(), NULL, &labels, NULL, logs, err))
    STATUS("x[0]", quern_train_on_batch(ready(), &FLOATS(NULL, 8, 4), &labels, NULL, logs, err))
    STATUS("y", quern_train_on_batch(ready(), &array, NULL, NULL, logs, err))
    STATUS("y[0]", quern_test_on_batch(ready(), &array, &INTS(NULL, 8), NULL, logs, err))
    STATUS("x[0]", quern_train_on_batch(ready(), &FLOATS(x, 0, 4), &INTS(y, 0), NULL, logs, err))
    STATUS("model", quern_predict_on_batch(NULL, &array, outputs, err))
    STATUS("x[0]", quern_predict_on_batch(fresh(), &FLOATS(NULL, 2, 4), outputs, err))
    STATUS("out", quern_predict_on_batch(fresh(), &array, NULL, err))
    STATUS("model", quern_model_set_threads(NULL, 2, err))
    STATUS("threads", quern_model_set_threads(fresh(), 0, err))
    STATUS("model", quern_model_set_schema(NULL, NULL, err))
    STATUS("model", quern_model_set_tokenizer(NULL, NULL, err))
    STATUS("model", quern_model_get_weights(NULL, NULL, NULL, 0, err))
    STATUS("model", quern_model_set_weights(NULL, NULL, &array, 1, err))
    STATUS("weights", quern_model_set_weights(fresh(), NULL, NULL, 4, err))
    STATUS("dense/kernel", quern_model_set_weights(fresh(), "dense", two, 2, err))
    STATUS("model", quern_model_trainable(NULL, "dense", err))
    STATUS("layer", quern_model_trainable(fresh(), NULL, err))
    STATUS("model", quern_model_set_trainable(NULL, NULL, 1, err))
    STATUS("model", quern_model_set_learning_rate(NULL, 1, err))
    STATUS("learning_rate", quern_model_set_learning_rate(ready(), -1, err))
    STATUS(NULL, quern_model_set_profile(NULL, 1))
    STATUS(NULL, quern_model_set_watch(NULL, 1))
    return (call){ .none = true };
}

static call wrong_getter(int i, quern_error *err)
{
    int n = 0;
    (void)err;
    GETTER(quern_model_inputs(NULL))
    GETTER(quern_model_outputs(NULL))
    GETTER(quern_model_input_shape(ready(), 5).rank)
    GETTER(quern_model_output_shape(ready(), -1).rank)
    GETTER(quern_model_input_dtype(ready(), 5))
    GETTER(quern_model_target(ready(), 5, &array.shape))
    GETTER(quern_model_target(ready(), 0, NULL))
    GETTER(quern_model_input_name(ready(), 1))
    GETTER(quern_model_output_name(NULL, 0))
    GETTER(quern_model_output_dtype(ready(), 1))
    GETTER(quern_model_output_logits(NULL, 0))
    GETTER(quern_model_output_means(NULL, 0) != QUERN_MEANS_ANYTHING)
    GETTER(quern_model_output_means(fresh(), 0) != QUERN_MEANS_ANYTHING)
    GETTER(quern_model_weights(NULL))
    GETTER(quern_model_weight(ready(), 99, NULL).data)
    GETTER(quern_model_weight(ready(), -1, NULL).data)
    GETTER(quern_model_weight(NULL, 0, NULL).data)
    GETTER(quern_model_layers(NULL))
    GETTER(quern_model_layer(NULL, 0))
    GETTER(quern_model_layer(ready(), 99))
    GETTER(quern_model_logs(NULL))
    GETTER(quern_model_log_name(ready(), 99))
    GETTER(quern_model_log_name(fresh(), 0))
    GETTER(quern_model_schema(NULL))
    GETTER(quern_model_tokenizer(NULL))
    GETTER(quern_model_stateful(NULL))
    GETTER(quern_model_learning_rate(NULL) != 0)
    GETTER(quern_model_summary(NULL))
    GETTER(quern_model_summary_json(NULL))
    GETTER(quern_model_profile(NULL))
    GETTER(quern_plan_live(NULL, &size, 1))
    GETTER((quern_model_set_seed(NULL, 1), quern_model_reset_states(NULL), quern_model_free(NULL),
            NULL))
    return (call){ .none = true };
}

static call wrong_run(int i, quern_error *err)
{
    static quern_callback *nobody;
    int n = 0;
    MAKER("model", quern_fit_generator(NULL, generator(zeros), NULL, err))
    MAKER("train", FIT(NULL, .epochs = 1))
    MAKER("model", quern_fit_generator(fresh(), generator(zeros), NULL, err))
    MAKER("generator", FIT(generator(odd), .epochs = 1))
    MAKER("generator", FIT(quern_function_generator(odd_function, NULL), .epochs = 1))
    MAKER("epochs", FIT(generator(zeros), .epochs = -1))
    MAKER("batch_size", FIT(generator(zeros), .batch_size = -1))
    MAKER("workers", FIT(generator(zeros), .workers = 1000))
    MAKER("split_batch", FIT(generator(zeros), .split_batch = 9))
    MAKER("callbacks", FIT(generator(zeros), .n_callbacks = 1))
    MAKER("callbacks", FIT(generator(zeros), .n_callbacks = 1, .callbacks = &nobody))
    MAKER("callbacks", FIT(generator(zeros), .n_callbacks = -1, .callbacks = &nobody))
    MAKER("model", quern_fit(NULL, &array, &labels, NULL, NULL, err))
    MAKER("x", quern_fit(ready(), NULL, &labels, NULL, NULL, err))
    MAKER("y", quern_fit(ready(), &array, NULL, NULL, NULL, err))
    STATUS("model", quern_evaluate(NULL, &array, &labels, NULL, 0, logs, err))
    STATUS("y", quern_evaluate(ready(), &array, NULL, NULL, 0, logs, err))
    STATUS("out", quern_predict(ready(), &array, 0, NULL, err))
    STATUS("out", quern_predict(ready(), &array, 0, (float *[]){ NULL }, err))
    STATUS("model", quern_evaluate_generator(NULL, generator(zeros), 8, 2, logs, err))
    STATUS("data", quern_evaluate_generator(ready(), NULL, 8, 2, logs, err))
    STATUS("batch_size", quern_evaluate_generator(ready(), generator(zeros), -1, 2, logs, err))
    STATUS("steps", quern_evaluate_generator(ready(), generator(zeros), 8, -2, logs, err))
    STATUS("sink", quern_predict_generator(fresh(), generator(zeros), 8, 2, NULL, NULL, err))
    STATUS("data", quern_predict_generator(fresh(), NULL, 8, 2, give, NULL, err))
    STATUS("sink", quern_predict_with(fresh(), generator(zeros), NULL, NULL, NULL, err))
    STATUS("data", quern_adapt(fresh(), NULL, NULL, 8, 2, err))
    STATUS("steps", quern_adapt(fresh(), NULL, generator(zeros), 8, -2, err))
    STATUS("out", quern_plan_fit(ready(), NULL, NULL, NULL, err))
    STATUS("callbacks", quern_plan_fit(ready(), NULL, &(quern_fit_opts){ .n_callbacks = 1 },
                                       &(quern_plan){ 0 }, err))
    STATUS("path", quern_checkpoint_read(NULL, &(quern_checkpoint){ 0 }, err))
    STATUS("out", quern_checkpoint_read("c.keras", NULL, err))
    MAKER("words", quern_callback_from_spec(NULL, err))
    STATUS(NULL, quern_event_log(NULL, "a", 1))
    GETTER(quern_callback_new(NULL, NULL))
    GETTER(quern_history_epochs(NULL))
    GETTER(quern_history_reason(NULL))
    GETTER(quern_history_error(NULL))
    GETTER(quern_history_bad_record(NULL, 0))
    GETTER(!isnan(quern_history_value(NULL, "loss", 0)))
    GETTER((quern_history_free(NULL), quern_callback_free(NULL), NULL))
    return (call){ .none = true };
}

static call wrong_source(int i, quern_error *err)
{
    int n = 0;
    GETTER(quern_callback_generator(NULL, NULL))
    GETTER(generator(NULL))
    GETTER(quern_function_generator(NULL, NULL))
    GETTER(quern_indexed_generator(NULL, NULL, 4))
    GETTER(quern_indexed_generator(read_none, NULL, -4))
    GETTER(quern_program_generator(NULL, NULL))
    MAKER("x", quern_array_generator(NULL, 1, NULL, 0, NULL, err))
    MAKER("y", quern_array_generator(&array, 1, NULL, 1, NULL, err))
    MAKER("x",
          quern_array_generator(&(quern_tensor){ .shape = array.shape }, 1, NULL, 0, NULL, err))
    STATUS("generator", quern_array_generator_weights(NULL, 0, &array, err))
    STATUS("weights", quern_array_generator_weights(
                          quern_array_generator(&array, 1, &labels, 1, NULL, NULL), 0, NULL, err))
    STATUS("weights", quern_array_generator_weights(
                          quern_array_generator(&array, 1, &labels, 1, NULL, NULL), 0, &none, err))
    MAKER("words", quern_file_generator(NULL, NULL, err))
    MAKER("x", quern_series_array_generator(NULL, NULL,
                                            &(quern_series_opts){ .sequence_length = 2 }, err))
    GETTER(quern_series_generator(NULL, NULL, err))
    MAKER("paths", quern_text_generator(NULL, tokenizer(), NULL, err))
    MAKER("tokenizer", quern_text_generator("a.txt", NULL, NULL, err))
    MAKER("paths", quern_text_reader_open(NULL, err))
    STATUS("reader", quern_text_reader_read(NULL, (char *)x, 4, err))
    STATUS("data", quern_prepare(NULL, NULL, "a.qrec", err))
    STATUS("path",
           quern_prepare(quern_array_generator(&array, 1, NULL, 0, NULL, NULL), NULL, NULL, err))
    STATUS("generator", quern_generator_set_bad_records(NULL, 0, 0, err))
    STATUS("generator", quern_generator_set_stall_timeout(NULL, 1, err))
    STATUS("generator", quern_generator_slice(NULL, 0, 1, err))
    STATUS("generator", quern_generator_save(NULL, NULL, 0, &size, err))
    STATUS("size", quern_generator_save(generator(zeros), NULL, 0, NULL, err))
    STATUS("generator", quern_generator_restore(NULL, x, 4, err))
    STATUS("state", quern_generator_restore(generator(zeros), NULL, 4, err))
    STATUS("batch", quern_batch_put_string(NULL, 0, 0, "a", 1, err))
    STATUS("bytes", quern_batch_put_string(&(quern_batch){ 0 }, 0, 0, NULL, 1, err))
    STATUS(NULL, quern_yield(NULL, NULL))
    GETTER(quern_next_batch(NULL))
    GETTER(quern_yielder_error(NULL))
    GETTER(quern_generator_class(NULL, 0, 0))
    GETTER(quern_generator_schema(NULL))
    GETTER(quern_generator_features(NULL))
    GETTER(quern_generator_count(NULL) + 1)
    GETTER(quern_generator_bad_records(NULL))
    GETTER(quern_generator_bad_record(NULL, 0))
    GETTER(quern_schema_features(NULL))
    GETTER(quern_schema_target(NULL, 0))
    MAKER("schema", quern_schema_json(NULL, err))
    MAKER("bytes", quern_schema_from_json(NULL, 4, err))
    GETTER(
        (quern_generator_free(NULL), quern_schema_free(NULL), quern_text_reader_close(NULL), NULL))
    return (call){ .none = true };
}

static call wrong_file(int i, quern_error *err)
{
    int n = 0;
    MAKER("path", quern_model_open(NULL, err))
    STATUS("model", quern_model_save(NULL, "a.keras", err))
    STATUS("path", quern_model_save(fresh(), NULL, err))
    STATUS("path", quern_model_load_weights(fresh(), NULL, NULL, err))
    STATUS("model", quern_model_load_weights(NULL, "a.npz", NULL, err))
    STATUS("path", quern_model_save_weights(fresh(), NULL, NULL, err))
    STATUS("names", quern_npz_pack("a.npz", NULL, (const char *[]){ "a.npy" }, 1, err))
    STATUS("file",
           quern_npz_pack("a.npz", (const char *[]){ "a" }, (const char *[]){ NULL }, 1, err))
    STATUS("a.npz",
           quern_npz_pack("a.npz", (const char *[]){ "a" }, (const char *[]){ "a.npy" }, -1, err))
    STATUS("value", quern_register_loss("a>B", NULL, NULL, err))
    STATUS("value", quern_register_metric("a>B", NULL, NULL, err))
    STATUS("call", quern_register_layer("a>B", NULL, NULL, NULL, err))
    STATUS("update", quern_register_optimizer("a>B", NULL, NULL, NULL, err))
    STATUS("self", quern_add_weight(NULL, "a", &array.shape, "zeros", 1, err))
    GETTER(quern_argument_text(NULL, "a"))
    GETTER(!isnan(quern_argument_number(NULL, "a")))
    GETTER(quern_weight(NULL, NULL, 0))
    GETTER((quern_weight_becomes(NULL, NULL, 0, 1), quern_add_loss(NULL, NULL, 1), NULL))
    GETTER(quern_node_shape(NULL, 1).rank)
    GETTER(quern_node_constant(NULL, 1))
    GETTER(quern_node_unary(NULL, "exp", 1))
    GETTER(quern_node_binary(NULL, "add", 1, 1))
    GETTER(quern_node_concat(NULL, NULL, 2, 1))
    GETTER(quern_shape_text(NULL, NULL, 0))
    GETTER(quern_dtype_from_name(NULL))
    GETTER(quern_shape_equal(NULL, NULL))
    GETTER(quern_shape_count(NULL) + 1)
    GETTER(quern_shape_count(&(quern_shape){ .rank = 99 }) + 1)
    GETTER(quern_nearest(NULL, NULL, 0))
    return (call){ .none = true };
}

static call wrong_text(int i, quern_error *err)
{
    int n = 0;
    MAKER("words", quern_tokenizer_train(NULL, quern_text_reader_read, NULL, err))
    MAKER("read", quern_tokenizer_train("char", NULL, NULL, err))
    MAKER("path", quern_tokenizer_open(NULL, err))
    MAKER("json", quern_tokenizer_from_json(NULL, 4, err))
    MAKER("tokenizer", quern_tokenizer_json(NULL, NULL, err))
    STATUS("tokenizer", quern_tokenizer_encode(NULL, "a", 1, 1, y, 4, &size, err))
    STATUS("tokenizer", quern_tokenizer_decode(NULL, y, 1, (char *)x, 4, err))
    GETTER(quern_tokenizer_size(NULL))
    GETTER(quern_tokenizer_kind(NULL))
    GETTER(quern_tokenizer_token(NULL, 0, NULL))
    MAKER("sampling", quern_sampler_new(&(quern_sampling){ .temperature = 0.6 }, 4, err))
    STATUS("sampler", quern_sampler_draw(NULL, x, NULL, 0, 0.5, err))
    STATUS("logits", quern_sampler_draw(quern_sampler_new(NULL, 4, NULL), NULL, NULL, 0, 0.5, err))
    STATUS("window", quern_sampler_draw(quern_sampler_new(NULL, 4, NULL), x, NULL, 3, 0.5, err))
    STATUS("sampler", quern_sampler_draw_double(NULL, logs, NULL, 0, 0.5, err))
    GETTER(quern_sampler_kept(NULL, NULL, NULL))
    STATUS("rows", quern_pad_sequences(NULL, 1, NULL, NULL, 0, &none, err))
    STATUS("out", quern_pad_sequences(&array, 1, NULL, NULL, 0, NULL, err))
    STATUS("x", quern_to_categorical(NULL, 0, &none, err))
    STATUS("out", quern_normalize(&array, 0, 2, NULL, err))
    STATUS("out", quern_make_sampling_table(4, 1e-5, NULL, err))
    STATUS("word", quern_text_to_word_sequence("a", 1, NULL, NULL, NULL, err))
    STATUS("word index", quern_word_index_fit(NULL, "a", 1, err))
    STATUS("word index", quern_word_index_finish(NULL, err))
    STATUS("word index", quern_word_index_sequence(NULL, "a", 1, NULL, 0, err))
    STATUS("word index", quern_word_index_text(NULL, NULL, 0, NULL, 0, err))
    STATUS("word index", quern_word_index_row(NULL, NULL, 0, "tfidf", logs, err))
    GETTER(quern_word_index_size(NULL))
    GETTER(quern_word_index_texts(NULL))
    GETTER(quern_word_index_columns(NULL))
    GETTER(quern_word_index_word(NULL, 1, NULL, NULL, NULL))
    STATUS("beams", quern_beam_step(NULL, 1, x, 4, -1, 0, best, 4, err))
    STATUS("model", quern_generate(NULL, "a", NULL, &written, err))
    STATUS("out", quern_generate(ready(), "a", NULL, NULL, err))
    STATUS("model", quern_generate(ready(), "a", NULL, &written, err))
    STATUS("count",
           quern_generate(ready(), "a", &(quern_generate_opts){ .count = -1 }, &written, err))
    MAKER("model", quern_decoder_new(NULL, 1, 0, err))
    STATUS("decoder", quern_decoder_feed(NULL, y, 1, outputs, err))
    STATUS("decoder", quern_decoder_reorder(NULL, y, err))
    GETTER(quern_decoder_vocabulary(NULL))
    GETTER(quern_decoder_context(NULL))
    GETTER(quern_decoder_blocking_layer(NULL))
    GETTER((quern_decoder_reset(NULL), quern_decoder_free(NULL), quern_sampler_free(NULL),
            quern_tokenizer_free(NULL), NULL))
    return (call){ .none = true };
}

/* ---- results ---- */

static bool is_right(const call *c, const quern_error *err)
{
    if (!c->failed)
        print_message("accepted: %s\n", c->name);
    else if (c->where && (err->code != QUERN_INVALID || strcmp(err->where, c->where)))
        print_message("%s: said %d '%s: %s', expected '%s'\n", c->name, err->code, err->where,
                      err->text, c->where);
    else
        return true;
    return false;
}

static void wrong_calls_are_refused(void **state)
{
    call (*const tables[])(int, quern_error *) = { wrong_model,  wrong_getter, wrong_run,
                                                   wrong_source, wrong_file,   wrong_text };
    bool good = true;
    (void)state;
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++)
        for (int i = 0, more = 1; more; i++) {
            pid_t child = fork();
            if (!child) {
                alarm(20);
                quern_error err;
                memset(&err, 0x55, sizeof err); /* need not be zeroed */
                call c = tables[t](i, &err);
                _exit(c.none ? 2 : is_right(&c, &err) ? 0 : 1);
            }
            int status;
            assert_int_equal(waitpid(child, &status, 0), child);
            more = !WIFEXITED(status) || WEXITSTATUS(status) != 2;
            if (WIFSIGNALED(status))
                print_message("call %d of table %zu: signal %d\n", i, t, WTERMSIG(status));
            good = good && WIFEXITED(status) && WEXITSTATUS(status) != 1;
        }
    assert_true(good);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(wrong_calls_are_refused) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
