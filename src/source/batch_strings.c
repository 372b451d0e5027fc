/* Strings of a batch. The batch owns one buffer for the bytes of all its strings. */
#include "source.h"

#include <string.h>

int64_t quern__string_room(const quern_batch_spec *s)
{
    int64_t room = 0;
    for (int i = 0; i < s->n_inputs; i++) {
        quern_shape shape = quern__shape_close(s->shapes[i], s->batch_size);
        int64_t count = s->dtypes[i] == QUERN_STRING ? quern_shape_count(&shape) : 0, bytes;
        if (count < 0 || __builtin_mul_overflow(count, QUERN_STRING_ROOM, &bytes) ||
            __builtin_add_overflow(room, bytes, &room))
            return -1;
    }
    return room && room < QUERN_MOST_STRING ? QUERN_MOST_STRING : room;
}

int quern_batch_put_string(quern_batch *b, int array, int64_t at, const char *bytes, int64_t size,
                           quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "batch", b, "bytes", size > 0 ? bytes : "");
    if (array < 0 || array >= b->spec->n_inputs || at < 0)
        return quern__fail(err, QUERN_INVALID, "batch",
                           "index %lld of array %d is out of range: there are %d inputs",
                           (long long)at, array, b->spec->n_inputs);
    int64_t per = 1;
    for (int i = 1; i < b->spec->shapes[array].rank; i++)
        per *= b->spec->shapes[array].dims[i];
    if (b->spec->dtypes[array] != QUERN_STRING)
        return quern__fail(err, QUERN_INVALID, "batch", "array %d is of type %s", array,
                           quern_dtype_name(b->spec->dtypes[array]));
    if (size < 0 || size > QUERN_MOST_STRING || size > b->text_room - b->text_used)
        return quern__fail(err, QUERN_INVALID, "batch",
                           "record %lld of the batch: a string of %lld bytes exceeds %d, or the "
                           "%lld that the batch has left",
                           (long long)(at / per), (long long)size, QUERN_MOST_STRING,
                           (long long)(b->text_room - b->text_used));
    if (at / per >= b->spec->batch_size)
        return quern__fail(err, QUERN_INVALID, "batch", "record %lld exceeds the batch size %lld",
                           (long long)(at / per), (long long)b->spec->batch_size);
    char *to = b->text + b->text_used;
    if (size)
        memcpy(to, bytes, (size_t)size);
    b->text_used += size;
    ((quern_string *)b->arrays[array])[at] = (quern_string){ to, size };
    return QUERN_OK;
}
