/* Preprocessing of Keras 2: text_to_word_sequence, Tokenizer, make_sampling_table. */
#include "conformance.h"

#include <quern/text.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { most = 4096 };

static quern_word_opts options_of(const json_t *args)
{
    const json_t *lower = json_object_get(args, "lower");
    return (quern_word_opts){ .filters = json_string_value(json_object_get(args, "filters")),
                              .split = json_string_value(json_object_get(args, "split")),
                              .oov_token = json_string_value(json_object_get(args, "oov_token")),
                              .num_words = json_integer_value(json_object_get(args, "num_words")),
                              .keep_case = json_is_false(lower),
                              .char_level = json_is_true(json_object_get(args, "char_level")) };
}

static int append(void *user, const char *word, size_t n, quern_error *err)
{
    (void)err;
    return json_array_append_new(user, json_stringn(word, n)) ? QUERN_NOMEM : QUERN_OK;
}

void check_word_sequence(test_case *c, json_t *one)
{
    quern_error err = { 0 };
    const json_t *input = json_object_get(one, "input");
    json_t *got = json_array();
    quern_word_opts o = options_of(json_object_get(one, "args"));
    if (quern_text_to_word_sequence(json_string_value(input), json_string_length(input), &o, append,
                                    got, &err) < 0)
        case_error(c, &err);
    else if (!json_equal(got, json_object_get(one, "expected")))
        case_fail(c, "%zu words, or others", json_array_size(got));
    json_decref(got);
}

/* ---- Tokenizer ---- */

static void compare_numbers(test_case *c, const char *what, const json_t *want, const double *got,
                            size_t n)
{
    if (json_array_size(want) != n)
        case_fail(c, "%s: %zu numbers, expected %zu", what, n, json_array_size(want));
    for (size_t k = 0; k < n && c->result == PASSED; k++) {
        double gap = fabs(got[k] - json_number_value(json_array_get(want, k)));
        c->max_error = fmax(c->max_error, gap);
        if (!(gap <= 1e-9))
            case_fail(c, "%s: number %zu is %g", what, k, got[k]);
    }
}

static void compare_words(test_case *c, const quern_word_index *w, json_t *expected)
{
    json_t *index = json_object(), *counts = json_object(), *docs = json_object();
    size_t n;
    int64_t count, texts;
    for (int64_t i = 1; i <= quern_word_index_size(w); i++) {
        const char *word = quern_word_index_word(w, i, &n, &count, &texts);
        json_object_set_new(index, word, json_integer(i));
        if (count) { /* the unknown token is not counted */
            json_object_set_new(counts, word, json_integer(count));
            json_object_set_new(docs, word, json_integer(texts));
        }
    }
    if (!json_equal(index, json_object_get(expected, "word_index")))
        case_fail(c, "another word_index");
    if (!json_equal(counts, json_object_get(expected, "word_counts")))
        case_fail(c, "other counts");
    if (!json_equal(docs, json_object_get(expected, "word_docs")))
        case_fail(c, "other counts of texts");
    if (quern_word_index_texts(w) !=
        json_integer_value(json_object_get(expected, "document_count")))
        case_fail(c, "another count of texts");
    json_decref(index);
    json_decref(counts);
    json_decref(docs);
}

/* One text as a sequence, the sequence as a text, and as the k-th row of each matrix. */
static void compare_text(test_case *c, const quern_word_index *w, json_t *one, size_t k,
                         double *rows[4], quern_error *err)
{
    static const char *const modes[] = { "binary", "count", "tfidf", "freq" };
    static int64_t ids[most];
    static double numbers[most];
    static char text[most];
    json_t *expected = json_object_get(one, "expected"),
           *in = json_array_get(json_object_get(one, "input"), k);
    int64_t n =
        quern_word_index_sequence(w, json_string_value(in), json_string_length(in), ids, most, err);
    int64_t length = n < 0 ? n : quern_word_index_text(w, ids, n, text, sizeof text - 1, err);
    if (length < 0) {
        case_error(c, err);
        return;
    }
    text[length] = 0;
    for (int64_t i = 0; i < n; i++)
        numbers[i] = (double)ids[i];
    compare_numbers(c, "sequence", json_array_get(json_object_get(expected, "sequences"), k),
                    numbers, (size_t)n);
    if (strcmp(text, json_string_value(json_array_get(json_object_get(expected, "texts"), k))))
        case_fail(c, "text %zu is '%s'", k, text);
    if (n == 0) /* the matrices have a row only for texts with a word */
        return;
    for (int m = 0; m < 4; m++) {
        if (quern_word_index_row(w, ids, n, modes[m], rows[m], err) < 0)
            case_error(c, err);
        rows[m] += quern_word_index_columns(w);
    }
}

void check_word_index(test_case *c, json_t *one)
{
    static const char *const modes[] = { "binary", "count", "tfidf", "freq" };
    static double matrices[4][most];
    double *rows[4] = { matrices[0], matrices[1], matrices[2], matrices[3] };
    quern_error err = { 0 };
    json_t *expected = json_object_get(one, "expected"), *text;
    size_t k;
    quern_word_opts o = options_of(json_object_get(one, "args"));
    quern_word_index *w = quern_word_index_new(&o, &err);
    int status = w ? QUERN_OK : err.code;
    json_array_foreach(json_object_get(one, "adapt"), k, text) if (status >= 0) status =
        quern_word_index_fit(w, json_string_value(text), json_string_length(text), &err);
    if (status < 0 || quern_word_index_finish(w, &err) < 0) {
        case_error(c, &err);
        quern_word_index_free(w);
        return;
    }
    compare_words(c, w, expected);
    json_array_foreach(json_object_get(one, "input"), k, text)
        compare_text(c, w, one, k, rows, &err);
    for (int m = 0; m < 4; m++)
        compare_numbers(
            c, modes[m],
            json_object_get(json_object_get(json_object_get(expected, "matrix"), modes[m]), "data"),
            matrices[m], (size_t)(rows[m] - matrices[m]));
    quern_word_index_free(w);
}

void check_sampling_table(test_case *c, json_t *one)
{
    static double table[most];
    quern_error err = { 0 };
    const json_t *args = json_object_get(one, "args");
    int64_t size = json_integer_value(json_object_get(args, "size"));
    if (quern_make_sampling_table(size, json_number_value(json_object_get(args, "sampling_factor")),
                                  table, &err) < 0)
        case_error(c, &err);
    else
        compare_numbers(c, "table", json_object_get(one, "expected"), table, (size_t)size);
}
