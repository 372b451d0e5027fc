/* Options structs that can grow: the caller may be compiled for an older or a newer version than
 * the library's. */
#include "base.h"

#include <string.h>

int quern__take_options(void *own, size_t own_size, size_t first, const void *given,
                        const char *function, quern_error *err)
{
    enum { most = 1 << 16 };
    size_t size = 0;
    memset(own, 0, own_size);
    if (given)
        memcpy(&size, given, sizeof size);
    if (size && (size < first || size > most)) {
        quern__fail(err, QUERN_INVALID, function, "the options have size %zu, expected %zu", size,
                    own_size);
        quern__hint(err, "set size to sizeof the struct, or initialize the struct with { 0 }");
        return QUERN_INVALID;
    }
    size = size ? size : first;
    if (given)
        memcpy(own, given, size < own_size ? size : own_size);
    memcpy(own, &own_size, sizeof own_size);
    for (size_t i = own_size; given && i < size; i++)
        if (((const char *)given)[i]) {
            quern__fail(err, QUERN_UNSUPPORTED, function,
                        "byte %zu of the options is set, this library knows %zu", i, own_size);
            quern__hint(err, "install the version of libquern that the program was compiled for");
            return QUERN_UNSUPPORTED;
        }
    return QUERN_OK;
}
