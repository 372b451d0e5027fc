/* Arrays in memory: fit with a validation split and early stopping; evaluate; predict. */
#include <math.h>
#include <quern/quern.h>
#include <stdio.h>

enum { records = 600, width = 2 };

int main(void)
{
    static float xs[records * width], ys[records], predicted[records];
    quern_error err = { 0 };
    for (int i = 0; i < records; i++) {
        xs[2 * i] = (float)sin(i * 12.9898);
        xs[2 * i + 1] = (float)cos(i * 78.233);
        ys[i] = xs[2 * i] * xs[2 * i + 1]; /* the function to learn */
    }
    quern_tensor x = { .dtype = QUERN_FLOAT32,
                       .shape = { .rank = 2, .dims = { records, width } },
                       .data = xs };
    quern_tensor y = { .dtype = QUERN_FLOAT32,
                       .shape = { .rank = 2, .dims = { records, 1 } },
                       .data = ys };

    quern_model *m =
        quern_model_from_spec("input 2 | dense 32 tanh | dense 32 tanh | dense 1", 7, &err);
    quern_callback *stop =
        quern_callback_from_spec("early_stopping patience=10 restore_best_weights=true", &err);
    if (!m || !stop || quern_compile(m, "adam learning_rate=0.01", "mse", "mae", &err) < 0)
        return fprintf(stderr, "%s: %s\n", err.where, err.text), 1;
    quern_history *h = quern_fit(
        m, &x, &y, NULL,
        &(quern_fit_opts){
            .epochs = 100, .validation_split = 0.2, .callbacks = &stop, .n_callbacks = 1 },
        &err);
    double logs[2];
    float *const out[] = { predicted };
    if (!h || err.code || quern_evaluate(m, &x, &y, NULL, 0, logs, &err) < 0 ||
        quern_predict(m, &x, 0, out, &err) < 0)
        return fprintf(stderr, "%s: %s\n", err.where, err.text), 1;
    printf("%lld epochs (%s): mean squared error %.4f; the fourth is %.2f, predicted %.2f\n",
           (long long)quern_history_epochs(h), quern_history_reason(h), logs[0], (double)ys[3],
           (double)predicted[3]);
    quern_history_free(h);
    quern_callback_free(stop);
    quern_model_free(m);
    return logs[0] < 0.05 ? 0 : 1;
}
