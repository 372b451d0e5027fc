/* Whole models: a `.keras` file from real Keras is opened, predicts, evaluates, and trains as in
 * the case, and is compared with Keras. A file that is saved during that training resumes to the
 * same weights. */
#include "models.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Sample weights of outputs, one per record or one per time step. */
static void feed_own_weights(const feed *f, quern_batch *b, int64_t n)
{
    for (int i = 0; i < b->spec->n_targets; i++) {
        const quern_tensor *w = f->own[i];
        int64_t per = w ? quern_shape_count(&w->shape) / w->shape.dims[0] : 0;
        for (int64_t k = 0; k < n * per; k++)
            b->target_weights[i][k] = (float)quern__get(w, f->at * per + k);
        b->weighs[i] = !w                  ? QUERN_WEIGHTS_COMMON
                       : w->shape.rank > 1 ? QUERN_WEIGHTS_STEPS
                                           : QUERN_WEIGHTS_RECORDS;
    }
}

int feed_next(void *user, quern_batch *b, quern_error *err)
{
    feed *f = user;
    int64_t left = f->records - f->at, n = f->batch_size < left ? f->batch_size : left;
    if (f->sizes)
        n = json_integer_value(json_array_get(f->sizes, f->next++));
    if (n < 1 || n > left)
        return QUERN_END;
    for (int i = 0; i < b->spec->n_inputs + b->spec->n_targets; i++) {
        const quern_tensor *from = f->arrays[i];
        int64_t per = 1;
        for (int k = 1; k < from->shape.rank; k++)
            per *= from->shape.dims[k];
        quern_tensor to = { .dtype = b->spec->dtypes[i], .data = b->arrays[i] };
        for (int64_t k = 0; k < n * per; k++)
            quern__set(&to, k, quern__get(from, f->at * per + k));
    }
    for (int64_t r = 0; f->weights && r < n; r++)
        b->weights[r] = (float)quern__get(f->weights, f->at + r);
    (void)err;
    b->has_weights = f->weights != NULL;
    feed_own_weights(f, b, n);
    b->size = n;
    f->at += n;
    return QUERN_OK;
}

int feed_reset(void *user, quern_error *err)
{
    feed *f = user;
    (void)err;
    f->at = 0;
    f->next = 0;
    return QUERN_OK;
}

static void tolerance_of(const model_case *k, const char *what, double *rtol, double *atol)
{
    json_t *t = json_object_get(k->tolerance, what);
    t = t ? t
          : json_object_get(k->tolerance, "train"); /* one tolerance for all results of training */
    *rtol = json_number_value(json_object_get(t, "rtol"));
    *atol = json_number_value(json_object_get(t, "atol"));
}

/* Arrays x… and t… (or vx… vt…) of the case as a feed; false if one is missing. */
bool feed_of(model_case *k, const char *prefix, json_t *sizes, feed *f)
{
    char letter[8];
    quern_error err = { 0 };
    *f = (feed){ .c = k->c, .sizes = sizes, .batch_size = k->batch_size };
    int n = quern_model_inputs(k->m), targets = quern_model_outputs(k->m);
    for (int i = 0; i < n + targets; i++) {
        snprintf(letter, sizeof letter, "%s%s", prefix, i < n ? "x" : "t");
        f->arrays[i] = case_numbered(k->c, letter, i < n ? i : i - n);
        if (i < n && !f->arrays[i])
            return false;
    }
    f->records = f->arrays[0]->shape.dims[0];
    quern_shape shapes[QUERN_MAX_ARRAYS];
    bool open = false;
    for (int i = 0; i < n; i++) {
        open = open || quern_model_input_open(k->m, i);
        shapes[i] = quern_model_input_shape(k->m, i);
        if (f->arrays[i]->shape.rank == shapes[i].rank)
            shapes[i] = f->arrays[i]->shape;
    }
    if (open && !*prefix && quern_model_set_input_shapes(k->m, shapes, &err) < 0) {
        case_error(k->c, &err);
        return false;
    }
    snprintf(letter, sizeof letter, "%ssw", prefix);
    for (int i = 0; i < targets; i++)
        f->own[i] = case_numbered(k->c, letter, i);
    f->weights = targets == 1 && f->own[0] && f->own[0]->shape.rank == 1 ? f->own[0] : NULL;
    f->own[0] = f->weights ? NULL : f->own[0];
    return true;
}

typedef struct rows {
    test_case *c;
    const char *prefix;
    int outputs;
    int64_t at;
    double rtol, atol;
    const quern_model *m;
} rows;

static int compare_rows(void *user, const float *const *outputs, int64_t records)
{
    rows *r = user;
    for (int i = 0; i < r->outputs; i++) {
        const quern_tensor *all = case_numbered(r->c, r->prefix, i);
        if (!all)
            continue;
        quern_tensor want = *all, got = { .dtype = QUERN_FLOAT32,
                                          .shape = all->shape,
                                          .data = (void *)(size_t)outputs[i] };
        int64_t per = quern_shape_count(&all->shape) / all->shape.dims[0];
        want.shape.dims[0] = got.shape.dims[0] = records;
        want.data = (char *)all->data + (size_t)(r->at * per) * quern_dtype_size(all->dtype);
        case_compare_within(r->c, r->prefix, &got, &want, r->rtol, r->atol);
    }
    r->at += records;
    return r->c->result != PASSED;
}

void check_predictions(model_case *k, const char *prefix, const char *tolerance)
{
    feed f;
    quern_error err = { 0 };
    rows r = { .c = k->c, .prefix = prefix, .outputs = quern_model_outputs(k->m), .m = k->m };
    if (k->c->result != PASSED || !case_numbered(k->c, prefix, 0) || !feed_of(k, "", NULL, &f))
        return;
    tolerance_of(k, tolerance, &r.rtol, &r.atol);
    quern_generator *g =
        quern_callback_generator(&(quern_callback_ops){ feed_next, feed_reset }, &f);
    if (quern_predict_generator(k->m, g, k->batch_size, 0, compare_rows, &r, &err) < 0)
        case_error(k->c, &err);
    quern_generator_free(g);
}

static void compare_number(model_case *k, const char *what, double got, double want,
                           const char *tolerance)
{
    double rtol, atol;
    quern_tensor a = { .dtype = QUERN_FLOAT64, .data = &got },
                 b = { .dtype = QUERN_FLOAT64, .data = &want };
    tolerance_of(k, tolerance, &rtol, &atol);
    case_compare_within(k->c, what, &a, &b, rtol, atol);
}

static void check_evaluation(model_case *k)
{
    feed f;
    quern_error err = { 0 };
    double logs[64];
    json_t *before = json_object_get(k->c->spec, "evaluate_before"), *want;
    const char *key;
    if (k->c->result != PASSED || json_object_size(before) == 0 || !feed_of(k, "", NULL, &f))
        return;
    quern_generator *g =
        quern_callback_generator(&(quern_callback_ops){ feed_next, feed_reset }, &f);
    if (quern_evaluate_generator(k->m, g, k->batch_size, 0, logs, &err) < 0)
        case_error(k->c, &err);
    quern_generator_free(g);
    json_object_foreach(before, key, want)
    {
        int at = -1;
        for (int i = 0; i < quern_model_logs(k->m); i++)
            at = strcmp(quern_model_log_name(k->m, i), key) ? at : i;
        if (at < 0)
            case_fail(k->c, "evaluate gives no '%s'", key);
        else
            compare_number(k, key, logs[at], json_number_value(want), "history");
    }
}

void check_history(model_case *k, const quern_history *h, int64_t first, json_t *names,
                   const char *run)
{
    json_t *name;
    size_t i;
    json_array_foreach(names, i, name)
    {
        char key[140];
        snprintf(key, sizeof key, "%shistory_%s", run, json_string_value(name));
        const quern_tensor *want = case_member(k->c, key);
        int64_t at = 0; /* an epoch without validation has no number, and no entry in Keras */
        for (int64_t e = first; want && e < want->shape.dims[0]; e++, at++) {
            while (at < 100 && isnan(quern_history_value(h, json_string_value(name), at)))
                at++;
            compare_number(k, key, quern_history_value(h, json_string_value(name), at),
                           quern__get(want, e), "history");
        }
    }
}

void check_weights(model_case *k, const char *run)
{
    double rtol, atol;
    char letter[64];
    json_t *weights = json_object_get(k->c->spec, "weights"), *w;
    size_t i;
    snprintf(letter, sizeof letter, "%sw_after_", run);
    tolerance_of(k, "weights", &rtol, &atol);
    for (int n = 0; !weights && case_numbered(k->c, letter, n); n++) /* a case without a list */
        if (n < quern_model_weights(k->m)) {
            quern_tensor got = quern_model_weight(k->m, n, NULL);
            case_compare_within(k->c, letter, &got, case_numbered(k->c, letter, n), rtol, atol);
        } else
            case_fail(k->c, "%d weights, expected more", quern_model_weights(k->m));
    if (weights && (int)json_array_size(weights) != quern_model_weights(k->m))
        case_fail(k->c, "%d weights, expected %zu", quern_model_weights(k->m),
                  json_array_size(weights));
    json_array_foreach(weights, i, w)
    {
        const quern_tensor *want = case_numbered(k->c, letter, (int)i);
        if (k->c->result != PASSED || !want || json_is_true(json_object_get(w, "unchecked")))
            continue;
        quern_tensor got = quern_model_weight(k->m, (int)i, NULL);
        case_compare_within(
            k->c, quern__config_text(w, "path") ? quern__config_text(w, "path") : "weight", &got,
            want, rtol, atol);
    }
}

/* {"0": 0.7, "1": 2.5} as "0:0.7,1:2.5". */
static const char *class_weight_of(const model_case *k, char *text, size_t size)
{
    json_t *weights = json_object_get(k->fit, "class_weight"), *w;
    const char *key;
    size_t n = 0;
    json_object_foreach(weights, key, w) n +=
        (size_t)snprintf(text + n, size - n, "%s%s:%.17g", n ? "," : "", key, json_number_value(w));
    return n ? text : NULL;
}

/* Trains from epoch `first` to the end with one reader thread, and compares all results. */
void check_training(model_case *k, int64_t first)
{
    feed train, valid = { 0 };
    quern_error err = { 0 };
    char text[400];
    json_t *generator = json_object_get(k->c->spec, "generator");
    int64_t epochs = json_integer_value(json_object_get(k->fit, "epochs"));
    if (k->c->result != PASSED || epochs < 1 ||
        !feed_of(k, "", json_object_get(generator, "batch_sizes"), &train))
        return;
    quern_fit_opts o = { .epochs = epochs,
                         .initial_epoch = first,
                         .batch_size = k->batch_size,
                         .steps_per_epoch =
                             json_integer_value(json_object_get(k->fit, "steps_per_epoch")),
                         .validation_steps =
                             json_integer_value(json_object_get(k->fit, "validation_steps")),
                         .class_weight = class_weight_of(k, text, sizeof text),
                         .no_shuffle = true };
    quern_callback_ops ops = { feed_next, feed_reset };
    quern_generator *g = quern_callback_generator(&ops, &train), *v = NULL;
    if (json_is_true(json_object_get(k->fit, "validation")) &&
        feed_of(k, "v", json_object_get(generator, "val_batch_sizes"), &valid))
        v = o.validation_data = quern_callback_generator(&ops, &valid);
    if (!generator) { /* arrays: a pass is an epoch, and the next starts again */
        o.on_exhausted = QUERN_EXHAUSTED_RESTART;
        o.steps_per_epoch = 0;
    }
    quern_history *h = quern_fit_generator(k->m, g, &o, &err);
    if (!h || err.code)
        case_error(k->c, &err);
    else {
        check_history(k, h, first, json_object_get(k->c->spec, "history"), "");
        check_weights(k, "");
    }
    quern_history_free(h);
    quern_generator_free(g);
    quern_generator_free(v);
}

bool open_model(model_case *k, const char *file)
{
    char path[800];
    quern_error err = { 0 };
    quern_model_free(k->m);
    snprintf(path, sizeof path, "%s/%s", k->c->folder, file);
    k->m = quern_model_open(path, &err);
    if (!k->m)
        case_error(k->c, &err);
    return k->m != NULL;
}

/* The same weights in another file, and the whole model as `.h5`, predict the same; so do files
 * that quern writes in both formats. */
static void check_files(model_case *k, json_t *files)
{
    json_t *file;
    size_t i;
    json_array_foreach(files, i, file)
    {
        const char *name = json_string_value(file);
        char path[800];
        quern_error err = { 0 };
        snprintf(path, sizeof path, "%s/%s", k->c->folder, name);
        if (k->c->result != PASSED || access(path, R_OK))
            continue;
        if (!strcmp(name, "model.h5") && open_model(k, name))
            check_predictions(k, "y", "predict");
        if (!strcmp(name, "model.weights.h5")) {
            if (quern_model_load_weights(k->m, path, NULL, &err) < 0)
                case_error(k->c, &err);
            check_predictions(k, "y", "predict");
        }
        quern_model_reset_states(k->m);
    }
}

void run_model(test_case *c)
{
    model_case k = { .c = c,
                     .fit = json_object_get(c->spec, "fit"),
                     .tolerance = json_object_get(c->spec, "tolerance") };
    json_t *files = json_object_get(c->spec, "files"), *file;
    size_t i;
    bool resumed = false, old = false;
    k.batch_size = json_integer_value(json_object_get(k.fit, "batch_size"));
    json_array_foreach(files, i, file)
    {
        resumed = resumed || !strcmp(json_string_value(file), "trained.keras");
        old = old || !strcmp(json_string_value(file), "trained.h5");
    }
    int steps = (int)json_integer_value(json_object_get(c->spec, "steps"));
    if (steps > 0 && open_model(&k, "model.keras")) {
        check_steps(&k, steps);
        quern_model_free(k.m);
        return;
    }
    if (open_model(&k, "model.keras")) {
        check_predictions(&k, "y", "predict");
        if (case_numbered(c, "y_second", 0)) /* a stateful model continues with its state */
            check_predictions(&k, "y_second", "predict");
        quern_model_reset_states(k.m);
        check_evaluation(&k);
        quern_model_reset_states(k.m);
        check_training(&k, 0);
        quern_model_reset_states(k.m);
        check_predictions(&k, "y_after", "after");
    }
    if (c->result == PASSED)
        check_files(&k, files);
    check_plans(&k);
    int64_t epochs = json_integer_value(json_object_get(k.fit, "epochs")),
            first = epochs < 3 ? epochs - 1 : 2;
    if (resumed && c->result == PASSED && open_model(&k, "trained.keras"))
        check_training(&k, first);
    if (old && c->result == PASSED && open_model(&k, "trained.h5"))
        check_training(&k, first);
    quern_model_free(k.m);
}
