/* The model takes over the schema of its first training data. */
#include "fit.h"

#include <string.h>

enum { most_logged = 20 };

/* Logs the classes of each target that has some: "classes: ant 0, bee 1, cow 2". */
static void log_classes(const quern_schema *s)
{
    for (int t = 0; t < quern_schema_targets(s); t++) {
        quern__text line = { 0 };
        int n = quern_schema_classes(s, t);
        bool several = quern_schema_targets(s) > 1;
        for (int k = 0; k < n && k < most_logged; k++)
            quern__text_add(&line, "%s%.60s %d", k ? ", " : "", quern_schema_class(s, t, k), k);
        if (n > most_logged)
            quern__text_add(&line, ", … %.60s %d", quern_schema_class(s, t, n - 1), n - 1);
        if (n && !line.failed)
            quern__note("classes%s%.60s: %s", several ? " of " : "",
                        several ? quern_schema_target(s, t) : "", line.data);
        quern__text_free(&line);
    }
}

int quern__adopt_schema(quern_model *m, const quern_generator *data, quern_error *err)
{
    const quern_schema *s = quern_model_schema(m) ? NULL : quern_generator_schema(data);
    int status = s ? quern__model_set_schema(m, s, err) : QUERN_OK;
    if (s && status >= 0)
        log_classes(s);
    return status;
}
