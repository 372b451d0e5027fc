/* options: option structs of different versions: an older program has a shorter struct, a newer one a longer struct. */
#include "base.h"

#include <string.h>

int quern__take_options(void *own, size_t own_size, const void *given, const char *function, quern_error *err)
{
    size_t size;
    memset(own, 0, own_size);
    if (!given)
        return QUERN_OK;
    memcpy(&size, given, sizeof size);
    if (size < sizeof(size_t) + sizeof(void *) || size > 1 << 16)
        return quern__fail(err, QUERN_INVALID, function, "the options have size %zu; initialise them with the macro", size);
    memcpy(own, given, size < own_size ? size : own_size);
    for (size_t i = own_size; i < size; i++)
        if (((const char *)given)[i])
            return quern__fail(err, QUERN_UNSUPPORTED, function, "an option is newer than this library");
    return QUERN_OK;
}
