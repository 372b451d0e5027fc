/* Preprocessing of time series: the windows of timeseries_dataset_from_array and of the older
 * TimeseriesGenerator. */
#include "conformance.h"

#include "source/generator_struct.h"
#include "source/memory/series.h"

#include <quern/source.h>

#include <string.h>

enum { most = 4096 };

/* A list, or {"shape", "data"}, as an array of numbers. */
static bool array_of(json_t *spec, double *numbers, quern_tensor *out)
{
    json_t *data = json_is_object(spec) ? json_object_get(spec, "data") : spec, *v;
    size_t k;
    *out = (quern_tensor){ .dtype = QUERN_FLOAT64, .shape = { .rank = 1 }, .data = numbers };
    json_array_foreach(data, k, v) numbers[k] = json_number_value(v);
    out->shape.dims[0] = (int64_t)json_array_size(data);
    if (json_is_object(spec))
        out->shape.rank = 0;
    json_array_foreach(json_object_get(spec, "shape"), k, v) out->shape.dims[out->shape.rank++] =
        json_integer_value(v);
    return json_is_array(data);
}

static int64_t whole(json_t *args, const char *key)
{
    return json_integer_value(json_object_get(args, key));
}

/* Compares the concatenated numbers of nested lists with `got`. Returns their number. */
static int64_t compare(test_case *c, json_t *want, const float *got, int64_t at)
{
    json_t *list = json_is_object(want) ? json_object_get(want, "data") : want, *v;
    size_t k;
    if (json_is_number(want)) {
        if (json_number_value(want) != (double)got[at])
            case_fail(c, "number %lld is %g, expected %g", (long long)at, (double)got[at],
                      json_number_value(want));
        return 1;
    }
    int64_t n = 0;
    json_array_foreach(list, k, v) n += compare(c, v, got, at + n);
    return n;
}

/* All windows at once. Returns the number of records. */
static int64_t read_all(quern_generator *g, const quern_tensor *x, const quern_tensor *y,
                        int64_t length, float *xs, float *ys, quern_error *err)
{
    static int64_t indices[most];
    int64_t n = quern_generator_count(g);
    quern_batch_spec spec = { .n_inputs = 1,
                              .n_targets = y != NULL,
                              .batch_size = n,
                              .dtypes = { QUERN_FLOAT32, QUERN_FLOAT32 } };
    spec.shapes[0] = (quern_shape){ .rank = 2, .dims = { -1, length } };
    for (int i = 1; i < x->shape.rank; i++)
        spec.shapes[0].dims[spec.shapes[0].rank++] = x->shape.dims[i];
    spec.shapes[1] = (quern_shape){ .rank = 1, .dims = { -1 } };
    quern_batch b = { .spec = &spec, .size = n, .arrays = { xs, ys }, .indices = indices };
    int status = g->ops->open(g, &spec, false, 0, err);
    status = status < 0 || n == 0 ? status : g->ops->read(g, 0, 0, &b, err);
    return status < 0 ? status : n;
}

void check_series(test_case *c, json_t *one)
{
    static double x_data[most], y_data[most];
    static float xs[most], ys[most];
    quern_error err = { 0 };
    json_t *args = json_object_get(one, "args"), *input = json_object_get(one, "input"), *batch;
    bool old = strcmp(c->name, "timeseries") != 0, wanted = json_object_get(one, "error") != NULL;
    quern_tensor x, y;
    array_of(json_object_get(input, "data"), x_data, &x);
    bool has_y = array_of(json_object_get(input, "targets"), y_data, &y);
    quern_series_opts o = { .sequence_length = whole(args, old ? "length" : "sequence_length"),
                            .sequence_stride = whole(args, old ? "stride" : "sequence_stride"),
                            .sampling_rate = whole(args, "sampling_rate"),
                            .start_index = whole(args, "start_index"),
                            .end_index = whole(args, "end_index"),
                            .reverse = json_is_true(json_object_get(args, "reverse")) };
    /* the older class takes every rate-th row, and the target after them */
    o.target_offset = old ? o.sequence_length : 0;
    o.sequence_length = old && o.sampling_rate
                            ? (o.sequence_length + o.sampling_rate - 1) / o.sampling_rate
                            : o.sequence_length;
    int64_t at_x = 0, at_y = 0;
    size_t k;
    if (o.sequence_length ==
        0) { /* empty windows: no model accepts them, but their number is that of Keras */
        quern__series plan;
        json_t *shape = json_object_get(
            json_object_get(json_array_get(json_object_get(one, "expected"), 0), "x"), "shape");
        if (quern__series_plan(&o, &plan, &err) < 0 ||
            quern__series_count(&plan, x.shape.dims[0], has_y ? y.shape.dims[0] : -1) !=
                json_integer_value(json_array_get(shape, 0)))
            case_fail(c, "another number of empty windows");
        return;
    }
    quern_generator *g = quern_series_array_generator(&x, has_y ? &y : NULL, &o, &err);
    int64_t n = g ? read_all(g, &x, has_y ? &y : NULL, o.sequence_length, xs, ys, &err) : -1;
    quern_generator_free(g);
    if (n < 0 ? !wanted : wanted)
        case_fail(c, "%s", n < 0 ? err.text : "Keras refuses this");
    if (n < 0)
        return;
    json_array_foreach(json_object_get(one, "expected"), k, batch)
    {
        at_x += compare(c, json_object_get(batch, "x"), xs, at_x);
        at_y += json_is_null(json_object_get(batch, "t"))
                    ? 0
                    : compare(c, json_object_get(batch, "t"), ys, at_y);
    }
    int64_t per = o.sequence_length * quern__per_record(&x.shape);
    if (at_x != n * per || (has_y && at_y != n))
        case_fail(c, "%lld windows, expected %lld", (long long)n, (long long)(at_x / per));
}
