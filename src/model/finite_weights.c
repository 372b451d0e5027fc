/* finite_weights: checks that all variables of a model are finite: its weights and the variables of
 * its optimizer. fit and ModelCheckpoint use it. */
#include "model_struct.h"

#include <math.h>

/* Whether a variable is finite; integers always are. `err` names the first element that is not. */
static bool is_finite(quern__variable *v, quern_error *err)
{
    int64_t n = quern_shape_count(&v->shape), k = 0;
    const float *x = v->dtype == QUERN_FLOAT32 ? quern__variable_numbers(v) : NULL;
    while (x && k < n && isfinite(x[k]))
        k++;
    if (!x || k == n)
        return true;
    quern__fail(err, QUERN_NUMBER, v->path, "element %lld is %s", (long long)k + 1,
                isnan(x[k]) ? "nan" : "infinite");
    return false;
}

bool quern__model_finite(const quern_model *m, quern_error *err)
{
    quern__variable *v;
    for (int i = 0; (v = quern__model_variable(m, i)); i++)
        if (!is_finite(v, err))
            return false;
    for (int i = 0; m->optimizer && (v = quern__optimizer_variable(m->optimizer, i)); i++)
        if (!is_finite(v, err))
            return false;
    return true;
}
