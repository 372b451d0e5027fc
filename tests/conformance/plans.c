/* Plans: training at every low-memory level, including activation recomputation, gives weights that
 * are bit-identical to those of the fastest plan (P3); with micro-batches they differ by rounding
 * only. The models and the batches are those of the cases. */
#include "fit/fit.h"
#include "model/model_struct.h"
#include "models.h"
#include "source/generator_struct.h"

#include <stdlib.h>
#include <string.h>

enum { most_steps = 3 };

/* Allocates a batch for the model; false: it has strings, which this test does not feed. */
static bool make_batch(const quern_batch_spec *spec, quern_batch *b)
{
    *b = (quern_batch){ .spec = spec, .size = spec->batch_size };
    for (int i = 0; i < spec->n_inputs + spec->n_targets; i++) {
        quern_shape s = quern__shape_close(spec->shapes[i], spec->batch_size);
        if (spec->dtypes[i] == QUERN_STRING)
            return false;
        b->arrays[i] = calloc((size_t)quern_shape_count(&s) + 1, 8);
    }
    for (int i = 0; i < spec->n_targets; i++) {
        quern_shape s = quern__shape_close(spec->weights[i], spec->batch_size);
        b->target_weights[i] = calloc((size_t)quern_shape_count(&s) + 1, sizeof(float));
    }
    b->weights = calloc((size_t)spec->batch_size, sizeof *b->weights);
    return true;
}

static void free_batch(quern_batch *b)
{
    for (int i = 0; i < QUERN_MAX_ARRAYS; i++) {
        free(b->arrays[i]);
        free(b->arrays[QUERN_MAX_ARRAYS + i]);
        free(b->target_weights[i]);
    }
    free(b->weights);
}

/* Trains some steps without sample weights, with the given number of micro-batches. Returns whether
 * something ran. */
static bool train(model_case *k, int low_memory, int64_t micro_batches, bool *recomputed)
{
    quern_error err = { 0 };
    feed f;
    quern_batch b;
    if (!open_model(k, "model.keras") || !feed_of(k, "", NULL, &f))
        return false;
    for (int i = 0; i < quern_model_outputs(k->m); i++)
        if (!f.arrays[quern_model_inputs(k->m) + i])
            return false;
    quern__queue_opts q = quern__queue_opts_of(k->m, QUERN__TRAIN, k->batch_size);
    quern__weighing none = { 0 };
    int status = make_batch(&q.spec, &b)
                     ? quern__model_set_micro_batches(k->m, micro_batches, false, &err)
                     : QUERN_END;
    quern__model_set_low_memory(k->m, low_memory);
    int64_t first = 0, steps = 0;
    for (; status == QUERN_OK && steps < most_steps && feed_next(&f, &b, &err) == QUERN_OK;
         steps++, first += b.size)
        status = quern__model_run(k->m, QUERN__TRAIN, b.arrays, &none, b.size, k->batch_size, 0,
                                  first, &err);
    if (status < 0)
        case_error(k->c, &err);
    if (steps)
        *recomputed = k->m->programs[QUERN__TRAIN].recomputed;
    free_batch(&b);
    return status == QUERN_OK && steps > 0;
}

/* Everything that a step may change, concatenated. */
static char *state_of(const quern_model *m, size_t *size)
{
    char *all = NULL;
    *size = 0;
    for (int i = 0; quern__model_variable(m, i); i++) {
        quern__variable *v = quern__model_variable(m, i);
        size_t bytes = (size_t)quern_shape_count(&v->shape) * quern_dtype_size(v->dtype);
        all = realloc(all, *size + bytes + 1);
        memcpy(all + *size, quern__variable_numbers(v), bytes);
        *size += bytes;
    }
    return all;
}

/* Micro-batches, if the model permits them: the same weights within rounding. */
static void check_micro_batches(model_case *k)
{
    bool recomputed;
    int n = quern_model_weights(k->m);
    char **want = calloc((size_t)n + 1, sizeof *want);
    bool ran =
        train(k, QUERN__LOW_MEMORY_NONE, 1, &recomputed) && !*k->m->programs[QUERN__TRAIN].whole;
    for (int i = 0; i < n && ran; i++) {
        quern_tensor w = quern_model_weight(k->m, i, NULL);
        size_t bytes = (size_t)quern_shape_count(&w.shape) * quern_dtype_size(w.dtype);
        want[i] = memcpy(malloc(bytes + 1), w.data, bytes);
    }
    ran = ran && train(k, QUERN__LOW_MEMORY_SCHEDULE, 3, &recomputed);
    for (int i = 0; i < n; i++) {
        quern_tensor got = quern_model_weight(k->m, i, NULL), one = got;
        one.data = want[i];
        json_t *spec = json_array_get(json_object_get(k->c->spec, "weights"), (size_t)i);
        if (ran && got.dtype == QUERN_FLOAT32 && !json_is_true(json_object_get(spec, "unchecked")))
            case_compare_within(k->c, "micro-batches", &got, &one, 2e-4, 2e-5);
        free(want[i]);
    }
    free(want);
}

void check_plans(model_case *k)
{
    size_t size, other_size;
    bool recomputed = false;
    if (k->c->result != PASSED || !json_integer_value(json_object_get(k->fit, "epochs")) ||
        !train(k, QUERN__LOW_MEMORY_NONE, 1, &recomputed))
        return;
    char *want = state_of(k->m, &size);
    for (int low_memory = QUERN__LOW_MEMORY_SCHEDULE;
         low_memory <= QUERN__LOW_MEMORY_MOST && train(k, low_memory, 1, &recomputed);
         low_memory++) {
        char *got = state_of(k->m, &other_size);
        if (size != other_size || memcmp(want, got, size) != 0)
            case_fail(k->c, "with low_memory %d training gives other weights", low_memory);
        free(got);
        if (low_memory >= QUERN__LOW_MEMORY_RECOMPUTE && !recomputed)
            break;
    }
    free(want);
    check_micro_batches(k);
}
