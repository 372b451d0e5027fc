/* Data files, read to the end as batches. FUZZ_WORDS makes the DATA argument from two paths. */
#include "target.h"

#include <quern/quern.h>
#include <stdio.h>

static int ignore(void *user, const float *const *out, int64_t n)
{
    (void)user, (void)out, (void)n;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    char words[200];
    quern_error err = { 0 };
    const char *path = fuzz_file(bytes, n);
    if (!path)
        return 0;
    snprintf(words, sizeof words, FUZZ_WORDS, path, path);
    quern_generator *g =
        quern_file_generator(words, &(quern_file_opts){ .missing = FUZZ_MISSING }, &err);
    quern_model *m = quern_model_from_spec("input 3 | flatten", 1, &err);
    if (g && m)
        quern_predict_generator(m, g, 4, 100, ignore, NULL, &err);
    quern_generator_free(g);
    quern_model_free(m);
    return 0;
}
