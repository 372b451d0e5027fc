/* The cases of TextVectorization and the lookup layers again, through the layer: a model of an
 * input and the layer adapts and predicts as Keras does. */
#include "conformance.h"

#include "model/model_struct.h"

#include <quern/quern.h>

#include <stdio.h>
#include <string.h>

enum { most_tokens = 4096 };

typedef struct tokens {
    quern_string strings[most_tokens];
    int64_t numbers[most_tokens];
    quern_tensor t;
} tokens;

/* A list as records of `per` tokens. */
static void take(json_t *list, bool integers, int64_t per, tokens *out)
{
    json_t *v;
    size_t k;
    json_array_foreach(list, k, v)
    {
        out->strings[k] = (quern_string){ json_string_value(v), (int64_t)json_string_length(v) };
        out->numbers[k] = json_integer_value(v);
    }
    out->t =
        (quern_tensor){ .dtype = integers ? QUERN_INT64 : QUERN_STRING,
                        .shape = { .rank = per > 1 ? 2 : 1, .dims = { (int64_t)k / per, per } },
                        .data = integers ? (void *)out->numbers : (void *)out->strings };
}

/* The config of the case, with the sizes that a graph needs in advance and Keras determines at run
 * time. */
static json_t *config_of(const quern__class *row, json_t *one, quern_error *err)
{
    json_t *args = json_deep_copy(json_object_get(one, "args")),
           *expected = json_object_get(one, "expected");
    json_t *shape = json_object_get(json_object_get(expected, "output"), "shape");
    const char *mode = json_string_value(json_object_get(args, "output_mode"));
    bool rows = mode && strcmp(mode, "int");
    if (!rows && !strcmp(row->name, "TextVectorization") && json_array_size(shape) == 2)
        json_object_set(args, "output_sequence_length", json_array_get(shape, 1));
    if (rows)
        json_object_set_new(
            args, "vocabulary_size",
            json_integer((json_int_t)json_array_size(json_object_get(expected, "vocabulary"))));
    json_t *config = quern__config(row, args, true, err);
    json_decref(args);
    return config;
}

static quern_model *model_of(const quern__class *row, json_t *config, bool integers, int64_t per,
                             quern_error *err)
{
    char words[64];
    snprintf(words, sizeof words, per > 1 ? "%lld dtype=%s" : "%.0lld dtype=%s",
             per > 1 ? (long long)per : 0LL, integers ? "int64" : "string");
    quern_blueprint *b = quern_blueprint_new(1);
    int in = quern_input(b, words),
        out = quern__blueprint_add(b, row, config, &(quern__inputs){ .values = &in, .n = 1 },
                                   row->name);
    return quern_model_new(b, &in, 1, &out, 1, err);
}

/* The result of adapt in Keras, with each token or text of the list as a record. */
static int learn(quern__layer *l, json_t *list, bool integers, quern_error *err)
{
    static tokens seen;
    if (!json_array_size(list) || l->given)
        return QUERN_OK;
    take(list, integers, 1, &seen);
    int status = l->kind->adapt(l, &seen.t, 0, err);
    return status < 0 ? status : l->kind->adapted(l, err);
}

void check_through_layer(test_case *c, const char *class_name, json_t *one)
{
    static tokens asked;
    static float out[most_tokens * 16];
    quern_error err = { 0 };
    const quern__class *row = quern__class_find(QUERN__LAYER, class_name, &err);
    json_t *input = json_object_get(one, "input"),
           *output = json_object_get(json_object_get(one, "expected"), "output");
    const char *mode =
        json_string_value(json_object_get(json_object_get(one, "args"), "output_mode"));
    bool integers = !strcmp(class_name, "IntegerLookup"),
         whole = mode && strcmp(mode, "int") && strcmp(mode, "one_hot");
    if (c->result != PASSED || json_object_get(one, "error") || json_array_size(input) < 1 ||
        json_array_size(input) > most_tokens)
        return;
    int64_t per =
        whole && strcmp(class_name, "TextVectorization") ? (int64_t)json_array_size(input) : 1;
    json_t *config = config_of(row, one, &err), *data = json_object_get(output, "data");
    quern_model *m = config ? model_of(row, config, integers, per, &err) : NULL;
    if (!m && err.code == QUERN_UNSUPPORTED) /* text outputs, ragged rows: no layer in a graph */
        return;
    int status =
        m ? learn(m->b->nodes[1].layer, json_object_get(one, "adapt"), integers, &err) : err.code;
    take(input, integers, per, &asked);
    if (status >= 0)
        status = (int)quern_predict(m, &asked.t, 3, (float *[]){ out }, &err);
    if (status < 0)
        case_fail(c, "as a layer: %s: %s", err.where, err.text);
    for (size_t i = 0; status >= 0 && i < json_array_size(data) && c->result == PASSED; i++) {
        double want = json_number_value(json_array_get(data, i)),
               gap = out[i] > want ? out[i] - want : want - out[i];
        if (!(gap <= 1e-6 * (1 + want)))
            case_fail(c, "as a layer: number %zu is %g, expected %g", i, (double)out[i], want);
    }
    quern_model_free(m);
}
