/* dtype_policy: the dtype policies of layers. Weights and values are float32 for every policy, so a
 * model of another one gets a warning: its numbers differ from Keras's by the rounding of the
 * policy. */
#include "model_struct.h"

#include <string.h>

/* The name of a policy other than float32 that rounds values otherwise; NULL: none. */
static const char *other_policy(const quern__layer *l)
{
    static const char *const others[] = { "float16", "bfloat16", "float64", "mixed_float16",
                                          "mixed_bfloat16" };
    json_t *dtype = json_object_get(l->config, "dtype");
    const char *name = json_is_object(dtype)
                           ? quern__config_text(json_object_get(dtype, "config"), "name")
                           : json_string_value(dtype);
    for (size_t i = 0; name && i < sizeof others / sizeof *others; i++)
        if (!strcmp(name, others[i]))
            return name;
    return NULL;
}

/* The first layer with such a policy, among a layer and those that it contains. */
static const quern__layer *first_other(const quern__layer *l)
{
    if (other_policy(l))
        return l;
    const quern__layer *found = NULL;
    for (int i = 0; i < l->n_inner && !found; i++)
        found = first_other(l->inner[i]);
    return found;
}

void quern__warn_policies(const quern_model *m)
{
    const quern__layer *l = NULL;
    for (int k = 0; k < m->b->n && !l; k++)
        if (m->b->nodes[k].n_in) /* the dtype of an input is that of its array */
            l = first_other(m->b->nodes[k].layer);
    if (l)
        quern__warn("layer '%.60s' has the dtype policy %s; this version computes in float32",
                    l->name, other_policy(l));
}
