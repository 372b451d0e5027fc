/* config.json of a model, of Keras 3 and of Keras 2. A config that can be read is written and read
 * again. */
#include "target.h"

#include "files/files.h"

#include <stdlib.h>

static void read_and_write(json_t *root)
{
    quern_error err = { 0 };
    quern_model *m = quern__config_read(root, 1 << 20, &err), *again;
    if (!m)
        return;
    json_t *written = quern__config_write(m);
    again = quern__config_read(written, 1 << 20, &err);
    if (!again)
        abort();
    quern_model_free(again);
    quern_model_free(m);
    json_decref(written);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    json_t *root = json_loadb((const char *)bytes, n, JSON_REJECT_DUPLICATES, NULL), *old;
    if (!root)
        return 0;
    read_and_write(root);
    old = quern__legacy_config(root, json_object_get(root, "training_config"), true);
    read_and_write(old);
    json_decref(old);
    json_decref(root);
    return 0;
}
