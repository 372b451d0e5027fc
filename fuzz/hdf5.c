/* An HDF5 file: as a whole model of Keras 2 or 3, and as weights for a model of two layers. */
#include "target.h"

#include "files/files.h"
#include "files/h5.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static quern_model *two;
    quern_error err = { 0 };
    quern__h5 h;
    two = two ? two : quern_model_from_spec("input 2 3 | lstm 2 sequences | dense 1", 1, &err);
    quern_model_free(quern__legacy_read("fuzz", (const char *)bytes, n, 1 << 20, &err));
    if (quern__h5_open(&h, (const char *)bytes, n, "fuzz", &(quern_error){ 0 }) >= 0)
        quern__legacy_weights(two, &h, &(quern_error){ 0 });
    quern__weights_read(two, "fuzz", (const char *)bytes, n, &(quern_error){ 0 });
    return 0;
}
