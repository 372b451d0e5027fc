/* CSV by file blocks: shuffled, with the smallest possible blocks, and with all bad records
 * skipped. */
#include "target.h"

#include "source/csv/csv.h"
#include "source/generator_struct.h"

#include <quern/quern.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static float x[4 * 3], weights[4];
    static int64_t indices[4];
    static const quern_batch_spec spec = { .n_inputs = 1,
                                           .batch_size = 4,
                                           .shapes = { { .rank = 2, .dims = { -1, 3 } } },
                                           .dtypes = { QUERN_FLOAT32 },
                                           .names = { "x" } };
    quern__bad bad = { .policy = QUERN_BAD_SKIP, .most = 100 };
    quern_batch b = {
        .spec = &spec, .arrays = { x }, .weights = weights, .indices = indices, .bad = &bad
    };
    const char *path = fuzz_file(bytes, n);
    if (!path)
        return 0;
    quern__csv_block = 1 + (int64_t)n / 80;
    quern_generator *g =
        quern_file_generator(path, &(quern_file_opts){ .missing = "0", .format = "csv" }, NULL);
    if (g && g->ops->open(g, &spec, true, n, NULL) >= 0)
        for (int k = 0; k < 100 && g->ops->next(g, &b, NULL) == QUERN_OK; k++)
            ;
    quern_generator_free(g);
    return 0;
}
