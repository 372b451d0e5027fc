/* sequential_functional: the rows of Sequential and Functional as layers. Module model implements
 * them (quern__nesting). */
#include "keras/keras.h"

static int nested_build(quern__layer *l, const quern_shape *in, int n_in, quern_error *err)
{
    if (!l->nesting)
        return quern__fail(err, QUERN_INTERNAL, l->name,
                           "the layer does not belong to a blueprint");
    return l->nesting->build(l, in, n_in, err);
}

static quern__id nested_call(quern__layer *l, quern__graph *g, const quern__id *in, int n_in,
                             bool training)
{
    return l->nesting->call(l, g, in, n_in, training);
}

static void nested_drop(quern__layer *l)
{
    if (l->nesting)
        l->nesting->drop(l);
}

static const quern__field nested_fields[] = { { "layers", QUERN__F_ANY, NULL }, { 0 } };
static const quern__call_arg nested_takes[] = { { "inputs", true }, { "mask", true }, { 0 } };
#define NESTED(ID, NAME, ALIASES, MODULE)                   \
    const quern__class ID = { .group = QUERN__LAYER,        \
                              .name = NAME,                 \
                              .aliases = ALIASES,           \
                              .module = MODULE,             \
                              .fields = nested_fields,      \
                              .build = nested_build,        \
                              .call = nested_call,          \
                              .call_args = nested_takes,    \
                              .masks = QUERN__MASK_OWN,     \
                              .model = true,                \
                              .strings = true,              \
                              .destroy_state = nested_drop, \
                              .by_step = true }
NESTED(quern__layer_sequential, "Sequential", "", "keras");
NESTED(quern__layer_functional, "Functional", "Model", "keras.src.models.functional");
