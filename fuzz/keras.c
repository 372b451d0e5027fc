/* A `.keras` file: opened, printed as a summary, and used for one prediction. */
#include "target.h"

#include <quern/quern.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    quern_error err = { 0 };
    const char *path = fuzz_file(bytes, n);
    quern_model *m = path ? quern_model_open(path, &err) : NULL;
    if (m)
        free(quern_model_summary(m));
    quern_model_free(m);
    return 0;
}
