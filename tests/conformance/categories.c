/* Preprocessing to categories: CategoryEncoding, Discretization, Hashing and HashedCrossing, each
 * as the one layer of a model that adapts and predicts. */
#include "conformance.h"

#include "model/model_struct.h"

#include <quern/quern.h>

#include <stdio.h>
#include <string.h>

enum { most_arrays = 2, most_numbers = 1024 };

typedef struct arrays {
    int n;
    quern_tensor t[most_arrays];
    double numbers[most_arrays][most_numbers];
    int64_t integers[most_arrays][most_numbers];
    quern_string strings[most_arrays][most_numbers];
} arrays;

/* An array of the case: {"dtype", "shape", "data"}, or a list of one axis; with `as_one`, an array
 * of one axis is one record. */
static void take_array(arrays *a, json_t *spec, bool as_one)
{
    json_t *data = json_is_array(spec) ? spec : json_object_get(spec, "data"), *v;
    int k = a->n++;
    quern_tensor *t = &a->t[k];
    size_t i;
    json_array_foreach(data, i, v)
    {
        a->numbers[k][i] = json_number_value(v);
        a->integers[k][i] = json_integer_value(v);
        a->strings[k][i] = (quern_string){ json_string_value(v), (int64_t)json_string_length(v) };
    }
    json_t *first = json_array_get(data, 0);
    *t = (quern_tensor){ .dtype = json_is_string(first)    ? QUERN_STRING
                                  : json_is_integer(first) ? QUERN_INT64
                                                           : QUERN_FLOAT64,
                         .shape = { .rank = 1, .dims = { (int64_t)i } } };
    t->data = json_is_string(first)    ? (void *)a->strings[k]
              : json_is_integer(first) ? (void *)a->integers[k]
                                       : a->numbers[k];
    if (!json_is_array(spec)) {
        t->shape.rank = 0;
        json_array_foreach(json_object_get(spec, "shape"), i, v) t->shape.dims[t->shape.rank++] =
            json_integer_value(v);
    }
    if (t->shape.rank == 1 && as_one)
        t->shape = (quern_shape){ .rank = 2, .dims = { 1, t->shape.dims[0] } };
}

/* A model of that layer only, with inputs like the arrays. */
static quern_model *model_of(const quern__class *row, json_t *config, const arrays *a,
                             const int *arguments, quern_error *err)
{
    quern_blueprint *b = quern_blueprint_new(1);
    int in[most_arrays];
    for (int k = 0; k < a->n; k++) {
        char words[128] = "";
        for (int i = 1; i < a->t[k].shape.rank; i++)
            snprintf(words + strlen(words), 32, "%lld ", (long long)a->t[k].shape.dims[i]);
        snprintf(words + strlen(words), 32, "dtype=%s",
                 a->t[k].dtype == QUERN_FLOAT64 ? "float32" : quern_dtype_name(a->t[k].dtype));
        in[k] = quern_input(b, words);
    }
    int out = quern__blueprint_add(
        b, row, config, &(quern__inputs){ .values = in, .arguments = arguments, .n = a->n },
        row->name);
    return quern_model_new(b, in, a->n, &out, 1, err);
}

static void compare_boundaries(test_case *c, const quern__layer *l, const json_t *expected)
{
    const json_t *want = json_object_get(expected, "bin_boundaries"),
                 *got = json_object_get(l->config, "bin_boundaries"), *v;
    size_t k;
    if (json_array_size(want) != json_array_size(got))
        case_fail(c, "%zu boundaries, expected %zu", json_array_size(got), json_array_size(want));
    json_array_foreach(want, k, v)
    {
        double gap = json_number_value(json_array_get(got, k)) - json_number_value(v);
        if (!(gap < 1e-6 && gap > -1e-6))
            case_fail(c, "boundary %zu is off by %g", k, gap);
    }
}

void check_categories(test_case *c, json_t *one)
{
    static const struct {
        const char *file, *class_name;
    } rows[] = { { "category_encoding", "CategoryEncoding" },
                 { "discretization", "Discretization" },
                 { "hashing", "Hashing" } };
    static arrays input, adapt;
    static float out[most_numbers];
    static const int arguments[] = { 0, 1 };
    quern_error err = { 0 };
    json_t *args = json_object_get(one, "args"), *given = json_object_get(one, "input"),
           *expected = json_object_get(one, "expected"),
           *weights = json_object_get(one, "count_weights"), *v;
    const char *name = NULL, *mode = json_string_value(json_object_get(args, "output_mode"));
    bool crossed = !strcmp(json_string_value(json_object_get(one, "name")), "crossing");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        name = strcmp(rows[i].file, c->name) ? name : rows[i].class_name;
    const quern__class *row =
        quern__class_find(QUERN__LAYER, crossed ? "HashedCrossing" : name, &err);
    json_t *config = row ? quern__config(row, args, true, &err) : NULL;
    bool as_one = strcmp(c->name, "hashing") ? !mode || strcmp(mode, "one_hot") : mode != NULL;
    input = adapt = (arrays){ 0 };
    for (size_t k = 0; k < (crossed ? 2 : 1); k++)
        take_array(&input, crossed ? json_array_get(given, k) : given, as_one);
    if (json_is_object(weights))
        take_array(&input, weights, as_one);
    quern_model *m =
        config ? model_of(row, config, &input, json_is_object(weights) ? arguments : NULL, &err)
               : NULL;
    int status = m ? QUERN_OK : err.code;
    quern__layer *l = NULL;
    for (int k = 0; m && k < m->b->n; k++)
        l = m->b->nodes[k].n_in ? m->b->nodes[k].layer : l;
    if (m && json_is_object(json_object_get(one, "adapt"))) {
        take_array(&adapt, json_object_get(one, "adapt"), false);
        quern_generator *g = quern_array_generator(adapt.t, 1, NULL, 0, NULL, &err);
        status = quern_adapt(m, NULL, g, adapt.t->shape.dims[0], 0, &err);
        quern_generator_free(g);
    }
    if (status >= 0)
        status = (int)quern_predict(m, input.t, 3, (float *[]){ out }, &err);
    if (status < 0) {
        case_error(c, &err);
        quern_model_free(m);
        return;
    }
    compare_boundaries(c, l, expected);
    json_t *want =
        json_object_get(expected, "output") ? json_object_get(expected, "output") : expected;
    size_t k;
    json_array_foreach(json_object_get(want, "data"), k, v)
    {
        double gap = (double)out[k] - json_number_value(v);
        c->max_error = gap > c->max_error ? gap : -gap > c->max_error ? -gap : c->max_error;
        if (!(gap < 1e-6 && gap > -1e-6))
            case_fail(c, "number %zu is %g, expected %g", k, (double)out[k], json_number_value(v));
    }
    quern_model_free(m);
}
