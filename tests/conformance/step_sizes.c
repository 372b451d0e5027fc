/* Several training steps of one model, each on a batch of another size (`io_steps.npz`): the
 * predictions for all batches, then the loss of each step and the weights after the last. */
#include "models.h"

#include <stdio.h>

enum { most_inputs = 8 };

/* The arrays "x0_s3", "x1_s3", … of a step. Returns their number. */
static int arrays_of(const test_case *c, char letter, int step, quern_tensor *out)
{
    char name[40];
    int n = 0;
    for (const quern_tensor *t; n < most_inputs; n++) {
        snprintf(name, sizeof name, "%c%d_s%d", letter, n, step);
        if (!(t = case_member(c, name)))
            break;
        out[n] = *t;
    }
    return n;
}

static void check_step_predictions(model_case *k, int step)
{
    quern_tensor x[most_inputs], y[most_inputs];
    const float *out[most_inputs];
    quern_error err = { 0 };
    json_t *tolerance = json_object_get(k->tolerance, "predict");
    int n = arrays_of(k->c, 'y', step, y);
    arrays_of(k->c, 'x', step, x);
    if (quern_predict_on_batch(k->m, x, out, &err) < 0) {
        case_error(k->c, &err);
        return;
    }
    for (int i = 0; i < n; i++) {
        quern_tensor got = { .dtype = QUERN_FLOAT32,
                             .shape = y[i].shape,
                             .data = (void *)(size_t)out[i] };
        case_compare_within(k->c, "y of a step", &got, &y[i],
                            json_number_value(json_object_get(tolerance, "rtol")),
                            json_number_value(json_object_get(tolerance, "atol")));
    }
}

void check_steps(model_case *k, int steps)
{
    quern_error err = { 0 };
    json_t *tolerance = json_object_get(k->tolerance, "history");
    const quern_tensor *losses = case_member(k->c, "step_loss");
    for (int s = 0; s < steps && k->c->result == PASSED; s++)
        check_step_predictions(k, s);
    for (int s = 0; s < steps && k->c->result == PASSED; s++) {
        quern_tensor x[most_inputs], y[most_inputs], w[most_inputs];
        double logs[64];
        arrays_of(k->c, 'x', s, x);
        arrays_of(k->c, 't', s, y);
        bool weighted = arrays_of(k->c, 'w', s, w) > 0;
        if (quern_train_on_batch(k->m, x, y, weighted ? w : NULL, logs, &err) < 0) {
            case_error(k->c, &err);
            return;
        }
        quern_tensor got = { .dtype = QUERN_FLOAT64, .data = logs },
                     want = { .dtype = losses->dtype,
                              .data = (char *)losses->data +
                                      (size_t)s * quern_dtype_size(losses->dtype) };
        case_compare_within(k->c, "loss of a step", &got, &want,
                            json_number_value(json_object_get(tolerance, "rtol")),
                            json_number_value(json_object_get(tolerance, "atol")));
    }
    if (k->c->result == PASSED)
        check_weights(k, "");
}
