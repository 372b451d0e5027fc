/* Shapes are compared axis by axis wherever arrays meet a model (Keras 3,
 * Functional._adjust_input_rank): only a last axis of 1 may be added or dropped. Channels-first
 * inputs are transposed during reading. */
#include "check.h"

#include "source/generator_struct.h"
#include "tensor/array_axes.h"

#include <quern/quern.h>
#include <stdbool.h>
#include <unistd.h>
#include <zlib.h>

static char folder[64] = "/tmp/quern-axes-XXXXXX", x_path[96], y_path[96], both_path[96],
            zip_path[96], qrec_path[96];

static int make_folder(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(x_path, sizeof x_path, "%s/x.npy", folder);
    snprintf(y_path, sizeof y_path, "%s/y.npy", folder);
    snprintf(both_path, sizeof both_path, "%s/both.npy", folder);
    snprintf(zip_path, sizeof zip_path, "%s/x.npy.gz", folder);
    snprintf(qrec_path, sizeof qrec_path, "%s/x.qrec", folder);
    return 0;
}

static int remove_folder(void **state)
{
    const char *all[] = { x_path, y_path, both_path, zip_path, qrec_path };
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        unlink(all[i]);
    return rmdir(folder);
}

/* "4 3 2" */
static quern_shape shape_of(const char *text)
{
    quern_shape s = { 0 };
    char *end;
    for (const char *p = text; *p; p = end)
        s.dims[s.rank++] = strtoll(p, &end, 10);
    return s;
}

static void append(const char *path, const char *mode, const char *shape, const float *numbers)
{
    quern_shape s = shape_of(shape);
    char head[129], dims[80] = "";
    int64_t count = quern_shape_count(&s);
    for (int i = 0; i < s.rank; i++)
        sprintf(dims + strlen(dims), "%lld, ", (long long)s.dims[i]);
    memcpy(head, "\x93NUMPY\x01\x00\x76\x00", 10);
    snprintf(head + 10, sizeof head - 10,
             "{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }", dims);
    size_t length = strlen(head + 10);
    memset(head + 10 + length, ' ', 118 - length);
    FILE *f = fopen(path, mode);
    gzFile z = gzopen(zip_path, "wb");
    assert_non_null(f);
    fwrite(head, 1, 128, f);
    fwrite(numbers, sizeof *numbers, (size_t)count, f);
    fclose(f);
    gzwrite(z, head, 128);
    gzwrite(z, numbers, (unsigned)((size_t)count * sizeof *numbers));
    gzclose(z);
}

static quern_batch_spec spec_of(const char *x, const char *y)
{
    quern_batch_spec s = {
        .n_inputs = 1, .n_targets = 1, .batch_size = 4, .names = { "image", "kind" }
    };
    s.shapes[0] = shape_of(x);
    s.shapes[1] = shape_of(y);
    s.dtypes[0] = s.dtypes[1] = QUERN_FLOAT32;
    s.weights[0] = (quern_shape){ .rank = 1, .dims = { -1 } };
    return s;
}

static float room[4096], labels[64];

/* Reads a batch of at most 4 records. */
static int take(quern_generator *g, const quern_batch_spec *spec, quern_error *err)
{
    int64_t indices[4];
    quern_batch b = { .spec = spec, .size = 4, .arrays = { room, labels }, .indices = indices };
    memset(room, 0, sizeof room);
    int status = g ? g->ops->open(g, spec, false, 1, err) : err->code;
    if (status >= 0)
        status = g->ops->read ? g->ops->read(g, 0, 0, &b, err) : g->ops->next(g, &b, err);
    if (g && g->ops->close)
        g->ops->close(g);
    quern_generator_free(g);
    return status;
}

enum { FILES, GZIPPED, PROTOCOL, MEMORY, PREPARED, WAYS };
static const char *const ways[] = { "files", "gzipped", "protocol", "memory", "prepared" };

/* Arrays x and y of the given shapes, from one of the kinds of sources. */
static quern_generator *open_way(int way, const char *x, const char *y, const char *data_format,
                                 quern_error *err)
{
    static float numbers[4096];
    char words[300];
    for (int i = 0; i < 4096; i++)
        numbers[i] = (float)i;
    append(both_path, "wb", x, numbers);
    append(both_path, "ab", y, numbers);
    append(y_path, "wb", y, numbers);
    append(x_path, "wb", x, numbers);
    snprintf(words, sizeof words, "x=%s y=%s", way == GZIPPED ? zip_path : x_path, y_path);
    const quern_tensor tx = { .dtype = QUERN_FLOAT32, .shape = shape_of(x), .data = numbers },
                       ty = { .dtype = QUERN_FLOAT32, .shape = shape_of(y), .data = numbers };
    const quern_file_opts o = { .data_format = data_format,
                                .format = way == PROTOCOL ? "npy" : NULL };
    quern_generator *g = way == MEMORY
                             ? quern_array_generator(&tx, 1, &ty, 1, NULL, err)
                             : quern_file_generator(way == PROTOCOL ? both_path : words, &o, err);
    if (way != PREPARED || !g)
        return g;
    int64_t n = quern_prepare(g, NULL, qrec_path, err);
    quern_generator_free(g);
    return n < 0 ? NULL : quern_file_generator(qrec_path, NULL, err);
}

static void all_sources_compare_axes(void **state)
{
    (void)state;
    const struct {
        const char *x, *y, *want_x, *want_y, *said, *hint;
    } cases[] = {
        { "4 5 6", "4", "-1 5 6", "-1", NULL, NULL },
        { "4 5 6", "4", "-1 5 6 1", "-1 1", NULL, NULL },
        { "4 5 6 1", "4 1", "-1 5 6", "-1", NULL, NULL },
        { "4", "4", "-1 1", "-1", NULL, NULL },
        { "4 5 6", "4", "-1 30", "-1",
          "has shape (4, 5, 6), the model expects (None, 30) for 'image'",
          "add flatten to the model, or save x.reshape(-1, 30)" },
        { "4 30", "4", "-1 5 6", "-1", "has shape (4, 30), the model expects (None, 5, 6)",
          "save x.reshape(-1, 5, 6)" },
        { "4 5 6 1 1", "4", "-1 5 6", "-1", "has shape (4, 5, 6, 1, 1)",
          "save x.reshape(-1, 5, 6)" },
        { "4 3 6 6", "4", "-1 6 6 3", "-1", "axis 1 is 3, the model expects 6 (None, 6, 6, 3)",
          "add --data-format channels_first: the channels are on axis 1" },
        { "4 3 5 6", "4", "-1 5 6 3", "-1", "axis 1 is 3, the model expects 5",
          "add --data-format channels_first: the channels are on axis 1" },
        { "4 2 20", "4", "-1 20 2", "-1", "axis 1 is 2, the model expects 20",
          "add --data-format channels_first: the channels are on axis 1" },
        { "4 6 5 3", "4", "-1 5 6 3", "-1", "axis 1 is 6, the model expects 5",
          "reorder the axes: save np.transpose(x, (0, 2, 1, 3))" },
        { "4 5 7", "4", "-1 5 6", "-1", "axis 2 is 7, the model expects 6", "" },
        { "4 5", "4 2 3", "-1 5", "-1 3 2",
          "axis 1 is 2, the model expects 3 (None, 3, 2) for 'kind'",
          "reorder the axes: save np.transpose(y, (0, 2, 1))" },
        { "4 5", "4 2 3", "-1 5", "-1 6",
          "has shape (4, 2, 3), the model expects (None, 6) for 'kind'", "save y.reshape(-1, 6)" },
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++)
        for (int way = 0; way < WAYS; way++) {
            quern_error err = { 0 };
            quern_batch_spec spec = spec_of(cases[k].want_x, cases[k].want_y);
            int status = take(open_way(way, cases[k].x, cases[k].y, NULL, &err), &spec, &err);
            char said[200] = "";
            if (cases[k].said)
                snprintf(said, sizeof said, "%s", cases[k].said);
            if (way == PREPARED &&
                strchr(said, '(')) /* the number of records is not part of a record */
                *strchr(said, '(') = 0;
            if (cases[k].said ? status != QUERN_SHAPE || !strstr(err.text, said) ||
                                    strcmp(err.hint, cases[k].hint)
                              : status < 0)
                fail_msg("%s, case %zu: %d: %s: %s (%s)", ways[way], k, status, err.where, err.text,
                         err.hint);
        }
}

/* np.moveaxis(np.arange(4 * 3 * 2 * 5).reshape(4, 3, 2, 5), 1, -1), from every kind of source. */
static void channels_first_is_transposed(void **state)
{
    (void)state;
    for (int way = 0; way < WAYS; way++) {
        quern_error err = { 0 };
        quern_batch_spec spec = spec_of("-1 2 5 3", "-1");
        bool seen[4] = { false };
        if (way == MEMORY)
            continue;
        CHECK_OK(take(open_way(way, "4 3 2 5", "4", "channels_first", &err), &spec, &err), err);
        for (int r = 0; r < 4; r++) {
            int record = (int)labels[r]; /* prepared records are shuffled */
            assert_true(record >= 0 && record < 4 && !seen[record]);
            seen[record] = true;
            for (int h = 0; h < 2; h++)
                for (int w = 0; w < 5; w++)
                    for (int c = 0; c < 3; c++)
                        assert_true(room[((r * 2 + h) * 5 + w) * 3 + c] ==
                                    (float)(((record * 3 + c) * 2 + h) * 5 + w));
        }
    }
    quern_error err = { 0 };
    quern_batch_spec flat =
        spec_of("-1 2 5 1", "-1"); /* an array without a channel axis cannot be channels first */
    CHECK_OK(take(open_way(FILES, "4 2 5", "4", "channels_first", &err), &flat, &err), err);
    assert_true(room[1] == 1 && room[9] == 9);
    CHECK_OK(take(open_way(FILES, "4 1 2 5", "4", "channels_first", &err), &flat, &err), err);
    assert_null(open_way(FILES, "4 2 5", "4", "channels", &err));
    assert_non_null(strstr(err.text, "'channels' is not channels_first or channels_last"));
}

/* Windows over rows in memory have shape (length, axes of a row). */
static void windows_are_compared_by_axes(void **state)
{
    (void)state;
    static float rows[40 * 6];
    const struct {
        const char *rows, *want;
        bool fits;
    } cases[] = { { "40 6", "-1 5 6", true },    { "40", "-1 5 1", true },
                  { "40", "-1 5", true },        { "40 1", "-1 5", true },
                  { "40 2 3", "-1 5 6", false }, { "40 6", "-1 5 2 3", false },
                  { "40 6", "-1 6 5", false } };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        quern_error err = { 0 };
        const quern_tensor x = { .dtype = QUERN_FLOAT32,
                                 .shape = shape_of(cases[k].rows),
                                 .data = rows };
        quern_batch_spec spec = spec_of(cases[k].want, "-1");
        spec.n_targets = 0;
        int status = take(quern_series_array_generator(
                              &x, NULL, &(quern_series_opts){ .sequence_length = 5 }, &err),
                          &spec, &err);
        if (cases[k].fits ? status < 0 : status != QUERN_SHAPE)
            fail_msg("case %zu: %d: %s: %s", k, status, err.where, err.text);
    }
}

/* Weights are (records) or (records, steps); other axes with equal size are rejected. */
static void weights_are_compared_by_axes(void **state)
{
    (void)state;
    const struct {
        const char *shape;
        int kind;
    } cases[] = { { "4", QUERN_WEIGHTS_RECORDS },
                  { "4 1", QUERN_WEIGHTS_RECORDS },
                  { "4 6", QUERN_WEIGHTS_STEPS },
                  { "4 6 1", QUERN_WEIGHTS_STEPS },
                  { "4 2 3", -1 },
                  { "4 1 1", -1 },
                  { "4 3 2", -1 } };
    quern_batch_spec spec = spec_of("-1 6", "-1 6");
    spec.weights[0] = shape_of("-1 6");
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        quern_shape s = shape_of(cases[k].shape);
        assert_int_equal(quern__weights_kind(&spec, 0, &s), cases[k].kind);
    }
}

/* Windows of text are (records, tokens) or one-hot; other axes with equal size are rejected. */
static void text_windows_are_compared_by_axes(void **state)
{
    (void)state;
    const struct {
        const char *x, *y;
        bool fits;
    } cases[] = { { "-1 8", "-1 8", true },       { "-1 8 1", "-1 8 1", true },
                  { "-1 8 20", "-1 8 20", true }, { "-1 2 4", "-1 8", false },
                  { "-1 8", "-1 4 2", false },    { "-1 4 40", "-1 8", false } };
    quern_error err = { 0 };
    FILE *f = fopen(y_path, "w");
    assert_non_null(f);
    for (int i = 0; i < 50; i++)
        fputs("the mill grinds ", f);
    fclose(f);
    quern_text_reader *r = quern_text_reader_open(y_path, &err);
    quern_tokenizer *t = r ? quern_tokenizer_train("char", quern_text_reader_read, r, &err) : NULL;
    CHECK_OK(t ? 0 : err.code, err);
    quern_text_reader_close(r);
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        static float x[4 * 160], y[4 * 160];
        int64_t indices[4];
        quern_batch_spec spec = spec_of(cases[k].x, cases[k].y);
        quern_batch b = { .spec = &spec, .size = 4, .arrays = { x, y }, .indices = indices };
        quern_generator *g =
            quern_text_generator(y_path, t, &(quern_text_opts){ .window = 8 }, &err);
        CHECK_OK(g ? 0 : err.code, err);
        int status = g->ops->open(g, &spec, false, 1, &err);
        if (status >= 0)
            status = g->ops->next(g, &b, &err);
        if (cases[k].fits ? status < 0 : status != QUERN_SHAPE)
            fail_msg("case %zu: %d: %s: %s", k, status, err.where, err.text);
        quern_generator_free(g);
    }
    quern_tokenizer_free(t);
}

static char warned[400];
static void keep_warning(void *user, int level, const char *text)
{
    (void)user;
    if (level == 1)
        snprintf(warned, sizeof warned, "%s", text);
}

/* A file that quern 0.1.0 prepared from x (7, 2, 3): only the size of a record is checked, and a
 * warning says so. */
static void files_without_shapes_are_read_with_a_warning(void **state)
{
    (void)state;
    quern_error err = { 0 };
    quern_batch_spec spec = spec_of("-1 2 3", "-1"), flat = spec_of("-1 6", "-1"),
                     other = spec_of("-1 7", "-1");
    quern_set_log(keep_warning, NULL);
    CHECK_OK(take(quern_file_generator(QUERN_TEST_DATA "/qrec/flat.qrec", NULL, &err), &flat, &err),
             err);
    assert_string_equal(warned, "");
    CHECK_OK(take(quern_file_generator(QUERN_TEST_DATA "/qrec/flat.qrec", NULL, &err), &spec, &err),
             err);
    assert_non_null(strstr(
        warned,
        "an earlier version prepared the file without shapes; the shape of 'image', (None, 2, 3)"));
    assert_int_equal(
        take(quern_file_generator(QUERN_TEST_DATA "/qrec/flat.qrec", NULL, &err), &other, &err),
        QUERN_SHAPE);
    quern_set_log(NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(all_sources_compare_axes),
                                        cmocka_unit_test(channels_first_is_transposed),
                                        cmocka_unit_test(windows_are_compared_by_axes),
                                        cmocka_unit_test(weights_are_compared_by_axes),
                                        cmocka_unit_test(text_windows_are_compared_by_axes),
                                        cmocka_unit_test(
                                            files_without_shapes_are_read_with_a_warning) };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
