/* Models from the field: cut from published files, from keras.applications and from Keras 2. A
 * folder has the file and the predictions of the Keras that wrote it. If the folder has a file
 * `refused`, opening must fail with its text: a model may be refused, but must never be wrong. */
#include "models.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Reads the expected text of the refusal; false: the case must succeed. */
static bool refusal(const test_case *c, char *text, size_t size)
{
    char path[720];
    snprintf(path, sizeof path, "%.700s/refused", c->folder);
    FILE *f = fopen(path, "rb");
    if (!f)
        return false;
    text[fread(text, 1, size - 1, f)] = 0;
    text[strcspn(text, "\n")] = 0;
    fclose(f);
    return true;
}

static const char *file_of(const test_case *c)
{
    char path[720];
    snprintf(path, sizeof path, "%.700s/model.h5", c->folder);
    return access(path, R_OK) == 0 ? "model.h5" : "model.keras";
}

static double largest(const test_case *c, const char *letter)
{
    double most = 0;
    const quern_tensor *t;
    for (int i = 0; (t = case_numbered(c, letter, i)); i++)
        for (int64_t k = 0; k < quern_shape_count(&t->shape); k++)
            most = fmax(most, fabs(quern__get(t, k)));
    return most;
}

static void check_refused(test_case *c, const char *want)
{
    char path[720];
    quern_error err = { 0 };
    snprintf(path, sizeof path, "%.700s/%s", c->folder, file_of(c));
    quern_model *m = quern_model_open(path, &err);
    if (m)
        case_fail(c, "opens, but is to be refused with '%s'", want);
    else if (!strstr(err.text, want))
        case_fail(c, "refused with '%s', not '%s'", err.text, want);
    quern_model_free(m);
}

/* The tolerance of a prediction relative to the largest: 1e-4, or the number in the file `within`
 * (models in half precision). */
static double tolerance(const test_case *c)
{
    char path[720];
    double share = 1e-4;
    snprintf(path, sizeof path, "%.700s/within", c->folder);
    FILE *f = fopen(path, "rb");
    if (f) {
        share = fscanf(f, "%lf", &share) == 1 ? share : 0;
        fclose(f);
    }
    return share;
}

void run_field(test_case *c)
{
    char want[300];
    json_t *within =
        json_pack("{s:{s:f, s:f}}", "predict", "rtol", 0.0, "atol", tolerance(c) * largest(c, "y"));
    model_case k = { .c = c, .tolerance = within, .batch_size = 1 };
    if (refusal(c, want, sizeof want))
        check_refused(c, want);
    else if (open_model(&k, file_of(c))) {
        k.batch_size = case_numbered(c, "x", 0)->shape.dims[0];
        check_predictions(&k, "y", "predict");
    }
    if (c->result == SKIPPED)
        c->result = FAILED;
    quern_model_free(k.m);
    json_decref(within);
}
