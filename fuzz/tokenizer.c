/* A tokenizer.json: its tokens for a text of the same bytes, and a read of the file that it
 * writes. */
#include "target.h"

#include <quern/quern.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static int32_t ids[1 << 15];
    static char out[1 << 16];
    quern_error err = { 0 };
    size_t used = 0, size = 0, length = n < 8000 ? n : 8000;
    quern_tokenizer *t = quern_tokenizer_from_json((const char *)bytes, n, &err), *again = NULL;
    if (!t)
        return 0;
    int64_t got =
        quern_tokenizer_encode(t, (const char *)bytes, length, 1, ids, 1 << 15, &used, &err);
    if (got > 0 && quern_tokenizer_decode(t, ids, got, out, sizeof out, &err) < 0)
        abort();
    char *json = quern_tokenizer_json(t, &size, &err);
    if (json)
        again = quern_tokenizer_from_json(json, size, &err);
    if (json && (!again || quern_tokenizer_size(again) != quern_tokenizer_size(t)))
        abort();
    free(json);
    quern_tokenizer_free(again);
    quern_tokenizer_free(t);
    return 0;
}
