/* Arguments of the command line: a pipeline, and after a newline an optimizer. */
#include "target.h"

#include <quern/quern.h>
#include <stdio.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    char text[2000];
    quern_error err = { 0 };
    snprintf(text, sizeof text, "%.*s", (int)(n < sizeof text ? n : sizeof text - 1),
             (const char *)bytes);
    char *second = strchr(text, '\n');
    if (second)
        *second++ = 0;
    quern_model *m = quern_model_from_spec(text, 1, &err);
    if (m && second)
        quern_compile(m, second, "mse", "mae", &err);
    quern_model_free(m);
    quern_callback_free(quern_callback_from_spec(text, &err));
    return 0;
}
