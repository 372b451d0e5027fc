/* Preprocessing: files of many small cases in JSON. */
#include "conformance.h"

#include <stdio.h>
#include <string.h>

/* {"dtype", "shape", "data"} as float32; false if it is missing or memory is short. */
static bool array_of(json_t *spec, quern_tensor *out)
{
    json_t *dims = json_object_get(spec, "shape"), *data = json_object_get(spec, "data"), *item;
    size_t k;
    *out = (quern_tensor){ .dtype = QUERN_FLOAT32 };
    json_array_foreach(dims, k, item)
        out->shape.dims[out->shape.rank < QUERN_MAX_RANK ? out->shape.rank++ : 0] =
        json_integer_value(item);
    int64_t n = quern_shape_count(&out->shape);
    if (!spec || n < 0 || (int64_t)json_array_size(data) != n ||
        !(out->data = quern__alloc((size_t)n * sizeof(float) + 4)))
        return false;
    json_array_foreach(data, k, item)((float *)out->data)[k] = (float)json_number_value(item);
    return true;
}

/* Adapts the layer to `data`, `batch` records at a time (0: all). */
static int adapt_in_batches(quern__layer *l, const quern_tensor *data, int64_t batch,
                            quern_error *err)
{
    int64_t records = data->shape.dims[0], per = quern_shape_count(&data->shape) / records;
    int64_t channels = l->n_weights ? quern_shape_count(&l->weights[0]->shape) : 1, seen = 0;
    for (int64_t at = 0; at < records; at += batch) {
        batch = batch > 0 ? batch : records;
        quern_tensor part = *data;
        part.shape.dims[0] = records - at < batch ? records - at : batch;
        part.data = (float *)data->data + at * per;
        int status = l->kind->adapt(l, &part, seen, err);
        if (status < 0)
            return status;
        seen += part.shape.dims[0] * per / channels;
    }
    return QUERN_OK;
}

static void check_normalization(test_case *c, json_t *one)
{
    quern_error err = { 0 };
    quern_tensor data = { 0 }, input, want, got;
    json_t *args = json_deep_copy(json_object_get(one, "args")),
           *expected = json_object_get(one, "expected");
    int64_t batch = json_integer_value(json_object_get(args, "adapt_batch_size"));
    json_object_del(args, "adapt_batch_size");
    const quern__class *row = quern__class_find(QUERN__LAYER, "Normalization", &err);
    json_t *config = quern__config(row, args, true, &err);
    quern__layer *l = config ? quern__layer_new(row, config, &err) : NULL;
    bool adapts = array_of(json_object_get(one, "adapt"), &data);
    evaluation e;
    if (!l || !array_of(json_object_get(one, "input"), &input) ||
        !array_of(json_object_get(expected, "output"), &want) ||
        evaluation_begin(&e, input.shape.dims[0], &err) < 0) {
        case_error(c, &err);
        return;
    }
    quern__id x = evaluation_leaf(&e, &input);
    int status = quern__layer_build(l, quern__shape_of(e.graph, x), 1, 1, &err);
    if (status >= 0 && adapts)
        status = adapt_in_batches(l, &data, batch, &err);
    quern__id y = status >= 0 ? quern__layer_call(l, e.graph, &x, 1, &(quern__context){ 0 }) : 0;
    if (status < 0 || evaluation_run(&e, &y, 1, &got, &err) < 0)
        case_error(c, &err);
    else {
        double tolerance = json_number_value(json_object_get(one, "tolerance"));
        case_compare_within(c, json_string_value(json_object_get(one, "name")), &got, &want,
                            tolerance, tolerance);
    }
    evaluation_end(&e);
    quern__layer_free(l);
    json_decref(args);
    quern__free(data.data);
    quern__free(input.data);
    quern__free(want.data);
}

void run_preprocessing(test_case *c)
{
    static const struct {
        const char *name;
        void (*check)(test_case *c, json_t *one);
    } files[] = { { "normalization", check_normalization },
                  { "text_vectorization", check_text_vectorization },
                  { "string_lookup", check_lookup },
                  { "integer_lookup", check_lookup },
                  { "pad_sequences", check_pad_sequences },
                  { "to_categorical", check_to_categorical },
                  { "char_windows", check_char_windows },
                  { "category_encoding", check_categories },
                  { "discretization", check_categories },
                  { "hashing", check_categories },
                  { "timeseries", check_series },
                  { "legacy_timeseries_generator", check_series },
                  { "normalize", check_normalize },
                  { "legacy_sampling_table", check_sampling_table },
                  { "legacy_tokenizer", check_word_index },
                  { "legacy_text_to_word_sequence", check_word_sequence } };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (!strcmp(c->name, files[i].name)) {
            files[i].check(c, c->one);
            return;
        }
    case_skip(c, "%s is not in this version", c->name);
}
