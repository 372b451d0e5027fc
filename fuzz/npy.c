/* The header of a `.npy` array, as from a generator program. */
#include "target.h"

#include "tensor/npy.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    quern_error err = { 0 };
    quern__npy npy;
    size_t header;
    if (quern__npy_header_bytes(bytes, n, &header, "fuzz", &err) >= 0 && header <= n)
        quern__npy_parse(bytes, header, &npy, "fuzz", &err);
    return 0;
}
