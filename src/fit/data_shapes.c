/* data_shapes: gives the open axes of a model the sizes of the data. A source that knows the shapes
 * of its records states them; for any other source the caller sets the sizes before the run
 * (quern_model_set_input_shapes). */
#include "fit.h"

#include <stdio.h>
#include <string.h>

/* The array of the description that is input i of the model: by name, else by order; -1: none. */
static int array_of(const quern_model *m, const quern__description *d, int i)
{
    const char *name = quern_model_input_name(m, i);
    bool named = false;
    for (int k = 0; k < d->n_x; k++) {
        if (name && *d->names[k] && !strcmp(d->names[k], name))
            return k;
        named = named || *d->names[k];
    }
    return !named && i < d->n_x ? i : -1;
}

/* The shape of the only input when the columns of a table fill it in order: the number of columns
 * is the product of its sizes. A table with another number of columns leaves it unchanged. */
static quern_shape shape_of_columns(const quern_model *m, int64_t columns)
{
    quern_shape own = quern__model_symbolic_input(m, 0), shape = own;
    int64_t fixed = 1;
    int open = 0, at = 0;
    for (int k = 1; k < own.rank; k++) {
        fixed *= own.dims[k] < 0 ? 1 : own.dims[k];
        if (own.dims[k] < 0) {
            open++;
            at = k;
        }
    }
    if (open != 1 || columns < fixed || columns % fixed)
        return quern_model_input_shape(m, 0);
    shape.dims[at] = columns / fixed;
    return shape;
}

/* The source does not state its shapes, and the caller has not set the sizes of the open axes. */
static int sizes_unknown(const quern_model *m, const quern_generator *g, quern_error *err)
{
    for (int i = 0; i < quern_model_inputs(m); i++) {
        char text[96];
        quern_shape own = quern__model_symbolic_input(m, i);
        for (int k = 1; k < own.rank; k++) {
            if (own.dims[k] >= 0)
                continue;
            int status = quern__fail(
                err, QUERN_SHAPE, g ? quern__generator_where(g, "generator") : "model",
                "does not state the size of axis %d of input '%.60s', %s", k,
                quern_model_input_name(m, i), quern_shape_text(&own, text, sizeof text));
            quern__hint(err, "set the size: --input-shape, or quern_model_set_input_shapes");
            return status;
        }
    }
    return QUERN_OK;
}

int quern__close_over(quern_model *m, const quern_generator *g, quern_error *err)
{
    quern__description d = { 0 };
    quern_shape in[QUERN__MAX_IO];
    if (!quern__model_open(m))
        return QUERN_OK;
    int status = g ? quern__source_shapes(g, &d, err) : QUERN_END;
    if (status == QUERN_END)
        return quern__model_sized(m) ? quern__model_close_bound(m, err) : sizes_unknown(m, g, err);
    if (status < 0)
        return status;
    for (int i = 0; i < quern_model_inputs(m); i++) {
        int k = array_of(m, &d, i);
        in[i] = k < 0 ? quern_model_input_shape(m, i)
                : quern_model_inputs(m) == 1 && d.axes[k] == QUERN__AXES_TABLE
                    ? shape_of_columns(m, d.shapes[k].dims[1])
                    : quern__model_closing(m, i, &d.shapes[k]);
    }
    return quern__model_close(m, in, err);
}

int quern_model_set_input_shapes_from(quern_model *m, const quern_generator *g, quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "model", m, "generator", g);
    if (quern__model_in_use(m))
        return quern__fail(err, QUERN_INVALID, quern__model_name(m), "is in use by a run");
    int status = quern__close_over(m, g, err);
    if (status >= 0 && !quern__model_sized(m))
        quern__model_bound(m);
    return quern__leave(err, status);
}
