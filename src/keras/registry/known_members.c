/* known_members: members of a file's config that the class does not have as fields. The table has
 * the members without effect on results, with the value for which that holds. Any other member is
 * an error, because ignoring it could give wrong results. */
#include "base/json.h"
#include "keras/keras.h"

#include <stdlib.h>
#include <string.h>

/* `of`: the class; NULL: every class of the group. `value`: the JSON without effect; NULL: no value
 * has an effect. */
static const struct {
    int group;
    const char *of, *name, *value;
} harmless[] = {
    { QUERN__LAYER, NULL, "quantization_config", "null" },
    { QUERN__LAYER, "InputLayer", "optional", "false" },
    { QUERN__LAYER, "Sequential", "build_input_shape", NULL }, /* read together with the layers */
    { QUERN__LAYER, "Functional", "input_layers", NULL },
    { QUERN__LAYER, "Functional", "output_layers", NULL },
    { QUERN__LAYER, NULL, "mask_all", "true" }, /* Keras 2: see files/legacy_layers.c */
    { QUERN__INITIALIZER, NULL, "input_axes", "null" },
    { QUERN__INITIALIZER, NULL, "output_axes", "null" },
};

/* Whether the table says that a member has no effect with this value. */
static bool is_harmless(const quern__class *c, const char *name, json_t *v)
{
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++) {
        if ((quern__group)harmless[i].group != c->group || strcmp(harmless[i].name, name) != 0 ||
            (harmless[i].of && strcmp(harmless[i].of, c->name) != 0))
            continue;
        if (!harmless[i].value || quern__json_is(v, harmless[i].value))
            return true;
    }
    return false;
}

bool quern__is_field(const quern__field *fields, const char *name)
{
    for (; fields && fields->name; fields++)
        if (!strcmp(fields->name, name))
            return true;
    return false;
}

int quern__understood(const quern__class *c, const quern__field *common, json_t *given,
                      quern_error *err)
{
    const char *name;
    json_t *v;
    json_object_foreach(given, name, v)
    {
        if (quern__is_field(c->fields, name) || quern__is_field(common, name) ||
            is_harmless(c, name, v))
            continue;
        char *text = quern__json_text(v, 0);
        int status = quern__fail(err, QUERN_UNSUPPORTED, c->name,
                                 "its config has %.60s=%.60s, which is not in this version", name,
                                 text ? text : "?");
        free(text);
        return status;
    }
    return QUERN_OK;
}
