/* Preprocessing of arrays: pad_sequences, to_categorical, and the windows of the character example.
 */
#include "conformance.h"

#include <math.h>

#include <quern/text.h>
#include <stdio.h>
#include <string.h>

enum { MOST_ROWS = 64, MOST_NUMBERS = 8192 };

static double numbers[MOST_NUMBERS]; /* the input, concatenated */
static int n_numbers;

/* Appends the numbers of a nested list. The first list of each level gives the shape. Returns false
 * if the list is ragged within a row. */
static bool flatten(const json_t *value, quern_shape *shape, int level)
{
    json_t *item;
    size_t k;
    if (!json_is_array(value)) {
        if (n_numbers < MOST_NUMBERS)
            numbers[n_numbers++] = json_number_value(value);
        return shape->rank == level;
    }
    if (shape->rank == level)
        shape->dims[shape->rank++] = (int64_t)json_array_size(value);
    bool same = shape->dims[level] == (int64_t)json_array_size(value);
    json_array_foreach(value, k, item) same = same && flatten(item, shape, level + 1);
    return same;
}

/* Whether shape and numbers are as expected; `data` is the result. */
static void compare(test_case *c, const quern_tensor *got, const json_t *want)
{
    json_t *dims = json_object_get(want, "shape"), *data = json_object_get(want, "data"), *item;
    size_t k;
    bool same = json_array_size(dims) == (size_t)got->shape.rank;
    json_array_foreach(dims, k, item) same = same && got->shape.dims[k] == json_integer_value(item);
    json_array_foreach(data, k, item)
    {
        double value = got->dtype == QUERN_INT32     ? ((const int32_t *)got->data)[k]
                       : got->dtype == QUERN_INT64   ? (double)((const int64_t *)got->data)[k]
                       : got->dtype == QUERN_FLOAT32 ? (double)((const float *)got->data)[k]
                                                     : ((const double *)got->data)[k];
        same = same && value == json_number_value(item);
    }
    if (!same)
        case_fail(c, "other numbers, or another shape of rank %d", got->shape.rank);
}

/* An error is right exactly if Keras has one. */
static void finish(test_case *c, const json_t *one, int status, quern_tensor *out,
                   const quern_error *err)
{
    bool wanted = json_object_get(one, "error") != NULL;
    if (status < 0 ? !wanted : wanted)
        case_fail(c, "%s", status < 0 ? err->text : "Keras refuses this");
    else if (status >= 0)
        compare(c, out, json_object_get(one, "expected"));
}

void check_pad_sequences(test_case *c, json_t *one)
{
    static quern_tensor rows[MOST_ROWS];
    static double out_data[MOST_NUMBERS];
    quern_error err = { 0 };
    json_t *args = json_object_get(one, "args"), *input = json_object_get(one, "input"), *row,
           *maxlen = json_object_get(args, "maxlen");
    const char *dtype = json_string_value(json_object_get(args, "dtype"));
    size_t k;
    n_numbers = 0;
    json_array_foreach(input, k, row)
    {
        rows[k] = (quern_tensor){ .dtype = QUERN_FLOAT64, .data = numbers + n_numbers };
        flatten(row, &rows[k].shape, 0);
    }
    quern_tensor out = { .dtype = quern_dtype_from_name(dtype ? dtype : "int32"),
                         .data = out_data };
    out.shape.dims[1] = json_is_integer(maxlen) ? json_integer_value(maxlen) : -1;
    int status = quern_pad_sequences(rows, (int64_t)json_array_size(input),
                                     json_string_value(json_object_get(args, "padding")),
                                     json_string_value(json_object_get(args, "truncating")),
                                     json_number_value(json_object_get(args, "value")), &out, &err);
    finish(c, one, status, &out, &err);
}

void check_to_categorical(test_case *c, json_t *one)
{
    static double out_data[MOST_NUMBERS];
    quern_error err = { 0 };
    json_t *input = json_object_get(one, "input"), *item;
    quern_tensor x = { .dtype = QUERN_FLOAT64, .data = numbers },
                 out = { .dtype = QUERN_FLOAT64, .data = out_data };
    quern_shape flat = { 0 };
    size_t k;
    n_numbers = 0;
    flatten(json_object_get(input, "data"), &flat, 0);
    json_array_foreach(json_object_get(input, "shape"), k, item) x.shape.dims[x.shape.rank++] =
        json_integer_value(item);
    json_t *classes = json_object_get(json_object_get(one, "args"), "num_classes");
    int status = quern_to_categorical(
        &x, json_is_integer(classes) ? json_integer_value(classes) : 0, &out, &err);
    finish(c, one, status, &out, &err);
}

/* Where Keras fails (its norm is along another axis), every row must have norm 1, or be zeros. */
static void check_norms(test_case *c, const quern_tensor *y)
{
    for (int64_t k = 0; k < y->shape.dims[1]; k++) {
        double sum = 0;
        for (int64_t i = 0; i < y->shape.dims[0]; i++)
            sum += pow(((const double *)y->data)[i * y->shape.dims[1] + k], 2);
        if (!(fabs(sum - 1) < 1e-12))
            case_fail(c, "column %lld has the norm %g", (long long)k, sqrt(sum));
    }
}

void check_normalize(test_case *c, json_t *one)
{
    static double out_data[MOST_NUMBERS];
    quern_error err = { 0 };
    json_t *input = json_object_get(one, "input"), *args = json_object_get(one, "args"),
           *want = json_object_get(json_object_get(one, "expected"), "data"), *item;
    quern_tensor x = { .dtype = QUERN_FLOAT64, .data = numbers },
                 out = { .dtype = QUERN_FLOAT64, .data = out_data };
    quern_shape flat = { 0 };
    size_t k;
    n_numbers = 0;
    flatten(json_object_get(input, "data"), &flat, 0);
    json_array_foreach(json_object_get(input, "shape"), k, item) x.shape.dims[x.shape.rank++] =
        json_integer_value(item);
    if (quern_normalize(&x, (int)json_integer_value(json_object_get(args, "axis")),
                        json_number_value(json_object_get(args, "order")), &out, &err) < 0) {
        case_error(c, &err);
        return;
    }
    if (!want)
        check_norms(c, &out);
    json_array_foreach(want, k, item)
    {
        double gap = fabs(out_data[k] - json_number_value(item));
        c->max_error = fmax(c->max_error, gap);
        if (!(gap <= 1e-12))
            case_fail(c, "number %zu is off by %g", k, gap);
    }
    json_array_foreach(json_object_get(json_object_get(one, "expected"), "shape"), k,
                       item) if (out.shape.dims[k] != json_integer_value(item))
        case_fail(c, "another shape");
}

/* ---- the character-level example ---- */

static int64_t read_text(void *user, char *to, int64_t room, quern_error *err)
{
    const char **text = user;
    int64_t n = (int64_t)strlen(*text) < room ? (int64_t)strlen(*text) : room;
    (void)err;
    memcpy(to, *text, (size_t)n);
    *text += n;
    return n;
}

/* Windows of `maxlen` ids every `step`, and the id after each. */
static void compare_windows(test_case *c, const int32_t *ids, int64_t n, const json_t *args,
                            const json_t *expected)
{
    int64_t maxlen = json_integer_value(json_object_get(args, "maxlen")),
            step = json_integer_value(json_object_get(args, "step"));
    const json_t *starts = json_object_get(expected, "starts"),
                 *x = json_object_get(json_object_get(expected, "x"), "data");
    const json_t *t = json_object_get(json_object_get(expected, "t"), "data");
    size_t window = 0;
    bool same = true;
    for (int64_t from = 0; from < n - maxlen; from += step, window++) {
        same = same && json_integer_value(json_array_get(starts, window)) == from;
        same = same && json_integer_value(json_array_get(t, window)) == ids[from + maxlen];
        for (int64_t i = 0; i < maxlen; i++)
            same = same &&
                   json_integer_value(json_array_get(x, window * (size_t)maxlen + (size_t)i)) ==
                       ids[from + i];
    }
    if (!same || window != json_array_size(starts))
        case_fail(c, "%zu windows, expected %zu", window, json_array_size(starts));
}

void check_char_windows(test_case *c, json_t *one)
{
    static int32_t ids[MOST_NUMBERS];
    quern_error err = { 0 };
    const json_t *expected = json_object_get(one, "expected"),
                 *chars = json_object_get(expected, "chars");
    const char *text = json_string_value(json_object_get(one, "input")), *rest = text;
    json_t *item;
    size_t k, used;
    quern_tokenizer *t = quern_tokenizer_train("char lower=true", read_text, &rest, &err);
    int64_t n =
        t ? quern_tokenizer_encode(t, text, strlen(text), 1, ids, MOST_NUMBERS, &used, &err) : -1;
    if (n < 0) {
        case_error(c, &err);
        return;
    }
    if (quern_tokenizer_size(t) != (int64_t)json_array_size(chars))
        case_fail(c, "%lld characters, expected %zu", (long long)quern_tokenizer_size(t),
                  json_array_size(chars));
    json_array_foreach(chars, k, item) if (strcmp(quern_tokenizer_token(t, (int32_t)k, NULL),
                                                  json_string_value(item)))
        case_fail(c, "character %zu is another", k);
    compare_windows(c, ids, n, json_object_get(one, "args"), expected);
    quern_tokenizer_free(t);
}
