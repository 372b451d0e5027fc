/* A file of safetensors: every array with few numbers is read. */
#include "target.h"

#include "files/named_weights.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static float room[1 << 12];
    quern__safetensors *s;
    const char *name;
    json_t *v;
    quern__h5 h = { .where = "fuzz" };
    if (quern__safetensors_open(&s, (const char *)bytes, n, "fuzz", &(quern_error){ 0 }) >= 0)
        json_object_foreach(quern__safetensors_names(s), name, v)
        {
            quern__h5_set set;
            quern_tensor out = { .dtype = QUERN_FLOAT32, .data = room };
            if (quern__safetensors_find(s, name, &set, &(quern_error){ 0 }) == QUERN_OK &&
                set.count <= 1 << 12)
                quern__h5_read(&h, &set, &out, &(quern_error){ 0 });
        }
    quern__safetensors_close(s);
    return 0;
}
