/* call: functions for reference kernels: elements of any dtype by index, the part of an output that
 * a call computes, and faults.
 *
 * quern__get and quern__set convert through double, so integers above 2^53 are not exact; code that
 * needs them uses quern__whole_at. Any number of threads may report faults of one step. The spin
 * lock is held for a few assignments only. */
#include "ops.h"

#include <math.h>

double quern__get(const quern_tensor *t, int64_t i)
{
    switch (t->dtype) {
    case QUERN_FLOAT32:
        return ((const float *)t->data)[i];
    case QUERN_FLOAT64:
        return ((const double *)t->data)[i];
    case QUERN_INT32:
        return ((const int32_t *)t->data)[i];
    case QUERN_INT64:
        return (double)((const int64_t *)t->data)[i];
    case QUERN_UINT8:
    case QUERN_BOOL:
        return ((const uint8_t *)t->data)[i];
    case QUERN_INT8:
        return ((const int8_t *)t->data)[i];
    case QUERN_UINT16:
        return ((const uint16_t *)t->data)[i];
    case QUERN_INT16:
        return ((const int16_t *)t->data)[i];
    case QUERN_UINT32:
        return ((const uint32_t *)t->data)[i];
    }
    return NAN;
}

bool quern__whole_at(const quern_tensor *t, int64_t i, int64_t *out)
{
    if (t->dtype == QUERN_INT64) {
        *out = ((const int64_t *)t->data)[i];
        return true;
    }
    double x = quern__get(t, i);
    bool all = t->dtype == QUERN_INT32 || t->dtype == QUERN_UINT32;
    if (!(x == floor(x) && (all || fabs(x) <= 1 << 24)))
        return false;
    *out = (int64_t)x;
    return true;
}

void quern__set(quern_tensor *t, int64_t i, double value)
{
    switch (t->dtype) {
    case QUERN_FLOAT32:
        ((float *)t->data)[i] = (float)value;
        return;
    case QUERN_FLOAT64:
        ((double *)t->data)[i] = value;
        return;
    case QUERN_INT32:
        ((int32_t *)t->data)[i] = (int32_t)value;
        return;
    case QUERN_INT64:
        ((int64_t *)t->data)[i] = (int64_t)value;
        return;
    case QUERN_UINT8:
    case QUERN_BOOL:
        ((uint8_t *)t->data)[i] = (uint8_t)value;
        return;
    case QUERN_INT8:
        ((int8_t *)t->data)[i] = (int8_t)value;
        return;
    case QUERN_UINT16:
        ((uint16_t *)t->data)[i] = (uint16_t)value;
        return;
    case QUERN_INT16:
        ((int16_t *)t->data)[i] = (int16_t)value;
        return;
    case QUERN_UINT32:
        ((uint32_t *)t->data)[i] = (uint32_t)value;
        return;
    }
}

quern__part quern__call_part(const quern__call *call, const quern_shape *shape, int64_t begin,
                             int64_t end)
{
    if (call->axis < 0)
        return (quern__part){ .outer = 1, .length = quern_shape_count(shape) };
    if (call->panel &&
        call->panelled >> 16) { /* the blocks are the column blocks of all inputs and outputs */
        int64_t rows = quern_shape_count(shape) / shape->dims[call->axis];
        return (quern__part){ .outer = 1, .length = (end - begin) * rows, .start = begin * rows };
    }
    /* C order: each index of the axes before `axis` has one run of the block */
    int64_t outer = 1, inner = 1;
    for (int i = 0; i < call->axis; i++)
        outer *= shape->dims[i];
    for (int i = call->axis + 1; i < shape->rank; i++)
        inner *= shape->dims[i];
    return (quern__part){ outer, (end - begin) * inner, shape->dims[call->axis] * inner,
                          begin * inner };
}

int quern__call_fault(const quern__call *call, int code, int64_t record, double value, double limit,
                      const char *what)
{
    quern__fault *f = call->run->fault;
    while (__atomic_exchange_n(&f->lock, 1, __ATOMIC_ACQUIRE))
        ;
    /* the earliest node wins, and within a node the earliest record */
    if (!f->code || call->order < f->order || (call->order == f->order && record < f->record)) {
        __atomic_store_n(&f->order, call->order, __ATOMIC_RELAXED);
        f->record = record;
        f->value = value;
        f->limit = limit;
        f->what = what;
        f->scope = call->scope;
        __atomic_store_n(&f->code, code, __ATOMIC_RELEASE);
    }
    __atomic_store_n(&f->lock, 0, __ATOMIC_RELEASE);
    return code;
}
