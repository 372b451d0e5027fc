/* Preprocessing of text: TextVectorization, StringLookup and IntegerLookup. */
#include "conformance.h"

#include "text/keras/text_vectorization.h"

#include <stdio.h>
#include <string.h>

/* Compares get_vocabulary() with the list of the case. */
static void compare_vocabulary(test_case *c, const quern__vocabulary *v, const json_t *expected)
{
    const json_t *want = json_object_get(expected, "vocabulary");
    json_t *got = quern__vocabulary_list(v);
    if (want && !json_equal(got, want)) {
        char *text = json_dumps(got, JSON_COMPACT);
        case_fail(c, "vocabulary %.300s", text);
        free(text);
    }
    json_decref(got);
}

/* Compares numbers with expected.output. */
static void compare_numbers(test_case *c, const double *got, int64_t n, const json_t *one)
{
    const json_t *data =
        json_object_get(json_object_get(json_object_get(one, "expected"), "output"), "data");
    double tolerance = json_number_value(json_object_get(one, "tolerance"));
    if ((int64_t)json_array_size(data) != n)
        case_fail(c, "%lld numbers, expected %zu", (long long)n, json_array_size(data));
    for (int64_t i = 0; i < n && c->result == PASSED; i++) {
        double want = json_number_value(json_array_get(data, (size_t)i)),
               gap = got[i] > want ? got[i] - want : want - got[i];
        c->max_error = gap > c->max_error ? gap : c->max_error;
        if (!(gap <= tolerance * (1 + (want < 0 ? -want : want))))
            case_fail(c, "number %lld is %g, expected %g", (long long)i, got[i], want);
    }
}

/* An error is right exactly if Keras has one. */
static void finish(test_case *c, const json_t *one, int64_t status, const quern_error *err)
{
    bool wanted = json_object_get(one, "error") != NULL;
    if (status < 0 && !wanted)
        case_error(c, err);
    if (status >= 0 && wanted)
        case_fail(c, "Keras refuses this");
}

/* ---- TextVectorization ---- */

enum { MOST_IDS = 4096 };

/* The rows of a batch: padded to the longest, or to output_sequence_length. */
static int64_t vectorize_batch(const quern__vectorizer *z, const json_t *input, double *out,
                               int64_t *n, quern_error *err)
{
    static int64_t ids[MOST_IDS];
    static float row[MOST_IDS];
    int64_t width = z->length, status = QUERN_OK, depth = quern__vocabulary_depth(z->vocabulary);
    json_t *text;
    size_t k;
    bool rows = z->vocabulary->mode != QUERN__INT;
    json_array_foreach(input, k, text)
    {
        int64_t count = rows ? depth
                             : quern__vectorize_ids(z, json_string_value(text),
                                                    json_string_length(text), ids, 0, err);
        if (count < 0 || count > MOST_IDS)
            return count < 0 ? count : QUERN_NOMEM;
        width = z->length < 0 && count > width ? count : width;
    }
    json_array_foreach(input, k, text)
    {
        const char *bytes = json_string_value(text);
        memset(ids, 0, sizeof ids);
        status = rows ? quern__vectorize_row(z, bytes, strlen(bytes), row, err)
                      : quern__vectorize_ids(z, bytes, strlen(bytes), ids, width, err);
        for (int64_t i = 0; status >= 0 && i < width; i++)
            out[(*n)++] = rows ? (double)row[i] : (double)ids[i];
    }
    return status;
}

void check_text_vectorization(test_case *c, json_t *one)
{
    static double out[MOST_IDS];
    quern_error err = { 0 };
    json_t *adapt = json_object_get(one, "adapt"), *text;
    int64_t n = 0, status;
    size_t k;
    quern__vectorizer *z = quern__vectorizer_new(json_object_get(one, "args"), &err);
    status = z ? QUERN_OK : err.code;
    if (status >= 0 && json_is_array(adapt) && !z->vocabulary->fixed) {
        status = quern__vocabulary_reset(z->vocabulary, &err);
        json_array_foreach(adapt, k, text) if (status >= 0) status =
            quern__vectorize_adapt(z, json_string_value(text), json_string_length(text), &err);
        if (status >= 0)
            status = quern__vocabulary_finish(z->vocabulary, &err);
    }
    if (status >= 0) {
        compare_vocabulary(c, z->vocabulary, json_object_get(one, "expected"));
        status = vectorize_batch(z, json_object_get(one, "input"), out, &n, &err);
    }
    if (status >= 0 && c->result == PASSED)
        compare_numbers(c, out, n, one);
    finish(c, one, status, &err);
    quern__vectorizer_free(z);
    check_through_layer(c, "TextVectorization", one);
}

/* ---- lookups ---- */

/* A token of the case as bytes. */
static const char *bytes_of(const quern__vocabulary *v, const json_t *token, char key[8], size_t *n)
{
    *n = v->integers ? 8 : json_string_length(token);
    return v->integers ? quern__vocabulary_key(json_integer_value(token), key)
                       : json_string_value(token);
}

static void compare_inverted(test_case *c, const quern__vocabulary *v, const json_t *one)
{
    const json_t *data =
        json_object_get(json_object_get(json_object_get(one, "expected"), "output"), "data");
    json_t *index;
    size_t k, n;
    json_array_foreach(json_object_get(one, "input"), k, index)
    {
        const char *got = quern__vocabulary_token(v, json_integer_value(index), &n);
        if (c->result == PASSED && strcmp(got, json_string_value(json_array_get(data, k))))
            case_fail(c, "index %zu is '%s', expected '%s'", k, got,
                      json_string_value(json_array_get(data, k)));
    }
}

/* A list is one sample for multi_hot, count and tf_idf, and one sample per token for one_hot. */
static int64_t look_up(const quern__vocabulary *v, const json_t *input, double *out, int64_t *n,
                       quern_error *err)
{
    static float row[MOST_IDS];
    int64_t depth = quern__vocabulary_depth(v);
    json_t *token;
    char key[8];
    size_t k, length;
    memset(row, 0, sizeof row);
    json_array_foreach(input, k, token)
    {
        const char *bytes = bytes_of(v, token, key, &length);
        int64_t index = quern__vocabulary_find(v, bytes, length, err);
        if (index < 0)
            return index;
        if (v->mode == QUERN__INT)
            out[(*n)++] = (double)index;
        else
            quern__vocabulary_mark(v, index, row);
        for (int64_t i = 0; v->mode == QUERN__ONE_HOT && i < depth; i++) {
            out[(*n)++] = (double)row[i];
            row[i] = 0;
        }
    }
    if (v->mode == QUERN__TF_IDF)
        quern__vocabulary_weigh(v, row);
    for (int64_t i = 0; v->mode > QUERN__ONE_HOT && i < depth; i++)
        out[(*n)++] = (double)row[i];
    return QUERN_OK;
}

void check_lookup(test_case *c, json_t *one)
{
    static double out[MOST_IDS];
    quern_error err = { 0 };
    json_t *adapt = json_object_get(one, "adapt"), *token;
    int64_t n = 0, status;
    size_t k, length;
    char key[8];
    quern__vocabulary *v = quern__vocabulary_new(json_object_get(one, "args"),
                                                 !strcmp(c->name, "integer_lookup"), &err);
    status = v ? QUERN_OK : err.code;
    if (status >= 0 && json_is_array(adapt)) {
        status = quern__vocabulary_reset(v, &err);
        json_array_foreach(adapt, k, token)
        {
            const char *bytes = bytes_of(v, token, key, &length);
            if (status >= 0)
                status = quern__vocabulary_count(v, bytes, length, &err);
            quern__vocabulary_end_text(v); /* adapt takes each element of a list as a text */
        }
        if (status >= 0)
            status = quern__vocabulary_finish(v, &err);
    }
    if (status >= 0)
        compare_vocabulary(c, v, json_object_get(one, "expected"));
    if (status >= 0 && v->invert)
        compare_inverted(c, v, one);
    else if (status >= 0) {
        status = look_up(v, json_object_get(one, "input"), out, &n, &err);
        if (status >= 0 && c->result == PASSED)
            compare_numbers(c, out, n, one);
    }
    finish(c, one, status, &err);
    quern__vocabulary_free(v);
    check_through_layer(c, !strcmp(c->name, "integer_lookup") ? "IntegerLookup" : "StringLookup",
                        one);
}
