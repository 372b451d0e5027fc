/* The schema of a model's data, as stored in model files and prepared records. A schema that can be
 * read is written and read again. */
#include "target.h"

#include <quern/schema.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    quern_schema *s = quern_schema_from_json((const char *)bytes, n, NULL);
    char *text = s ? quern_schema_json(s, NULL) : NULL;
    quern_schema *again = text ? quern_schema_from_json(text, strlen(text), NULL) : NULL;
    if (text && !again)
        abort();
    quern_schema_free(again);
    free(text);
    quern_schema_free(s);
    return 0;
}
