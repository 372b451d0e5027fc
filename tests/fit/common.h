/* Shared by the tests of fit: a small data set, a model, and a fit that must succeed. */
#ifndef QUERN_TESTS_FIT_COMMON_H
#define QUERN_TESTS_FIT_COMMON_H

#include "check.h"

#include <dirent.h>
#include <math.h>
#include <quern/quern.h>
#include <stdbool.h>
#include <unistd.h>

enum { records = 103, width = 6 };
static float xs[records * width];
static int32_t ys[records];

static inline void fill(void)
{
    for (int i = 0; i < records * width; i++)
        xs[i] = (float)sin(i * 1.7) + (float)(i % width) * 0.1f;
    for (int i = 0; i < records; i++)
        ys[i] = xs[i * width] > 0 ? (xs[i * width + 1] > 0 ? 2 : 1) : 0;
}

static inline quern_model *model(void)
{
    quern_error err = { 0 };
    quern_model *m =
        quern_model_from_spec("input 6 | dense 16 tanh | dropout 0.2 | dense 3 softmax", 7, &err);
    if (!m || quern_compile(m, "adam learning_rate=0.01", "sparse_categorical_crossentropy",
                            "accuracy", &err) < 0)
        fail_msg("%s: %s", err.where, err.text);
    return m;
}

static inline void check_same(quern_model *a, quern_model *b)
{
    for (int i = 0; i < quern_model_weights(a); i++) {
        quern_tensor u = quern_model_weight(a, i, NULL), v = quern_model_weight(b, i, NULL);
        assert_memory_equal(u.data, v.data, sizeof(float) * (size_t)quern_shape_count(&u.shape));
    }
}

static inline quern_history *fit(quern_model *m, quern_generator *g, quern_fit_opts o)
{
    quern_error err = { 0 };
    quern_history *h = quern_fit_generator(m, g, &o, &err);
    if (!h || err.code)
        fail_msg("%s: %s", err.where, err.text);
    return h;
}

/* The number of entries of a folder: in /proc/self, the descriptors or threads of the process. */
static inline int entries(const char *of)
{
    int n = 0;
    DIR *d = opendir(of);
    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n;
}

static inline quern_generator *array(void)
{
    quern_tensor x = { .dtype = QUERN_FLOAT32,
                       .shape = { .rank = 2, .dims = { records, width } },
                       .data = xs };
    quern_tensor y = { .dtype = QUERN_INT32,
                       .shape = { .rank = 1, .dims = { records } },
                       .data = ys };
    return quern_array_generator(&x, 1, &y, 1, NULL, NULL);
}

#endif
