/* variable: arrays that persist between steps, and their blocked layout.
 *
 * A matrix (K, N) with panels has two copies: `data` in C order and `panels` in blocks (N / w, K,
 * w). At most one is newer. A getter converts if its copy is the older one. The C order counts as
 * newer after quern__variable_numbers, because the caller may write; a plan marks the panels as
 * newer when it writes them. */
#include "graph.h"

#include <string.h>

quern__variable *quern__variable_new(const char *path, int dtype, const quern_shape *shape,
                                     bool trainable, quern_error *err)
{
    size_t bytes;
    quern__variable *v = quern__shape_bytes(shape, dtype, &bytes) && bytes < SIZE_MAX / 2
                             ? quern__zalloc(1, sizeof *v)
                             : NULL;
    if (v) {
        *v = (quern__variable){
            .path = quern__strdup(path), .dtype = dtype, .trainable = trainable, .shape = *shape
        };
        /* whole cache lines, and one more after the end */
        v->data = quern__zalloc_aligned((bytes + 63) / 64 * 64 + 64, 64);
        if (v->path && v->data)
            return v;
    }
    quern__variable_free(v);
    quern__fail(err, QUERN_NOMEM, path, "out of memory for the weight");
    return NULL;
}

void quern__variable_free(quern__variable *v)
{
    if (!v)
        return;
    quern__free(v->path);
    quern__free_aligned(v->data);
    quern__free_aligned(v->panels);
    quern__free(v);
}

/* Copies the matrix in C order to the blocked layout, or back. */
static void repack(quern__variable *v, bool to_panels)
{
    int64_t rows = v->shape.dims[0], columns = v->shape.dims[1], w = v->panel;
    float *plain = v->data, *panels = v->panels;
    for (int64_t p = 0; p < columns / w; p++)
        for (int64_t r = 0; r < rows; r++) {
            float *a = plain + r * columns + p * w, *b = panels + (p * rows + r) * w;
            memcpy(to_panels ? b : a, to_panels ? a : b, (size_t)w * sizeof(float));
        }
    v->panels_newer = false;
}

bool quern__variable_divide(quern__variable *v, int64_t width)
{
    if (v->panels)
        return v->panel == width;
    v->panels = quern__alloc_aligned((size_t)quern_shape_count(&v->shape) * sizeof(float) + 64, 64);
    v->panel = width;
    v->plain_newer = true;
    return v->panels != NULL;
}

void *quern__variable_numbers(quern__variable *v)
{
    if (v->panels_newer)
        repack(v, false);
    v->plain_newer = v->panels != NULL; /* the caller may write */
    return v->data;
}

float *quern__variable_panels(quern__variable *v)
{
    if (v->plain_newer)
        repack(v, true);
    v->plain_newer = false;
    return v->panels;
}
