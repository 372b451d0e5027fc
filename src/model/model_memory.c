/* model_memory: the memory of a model, and the release of its arena between runs. fit/budget.c adds
 * these numbers to its plan, so they depend on the model and on mapped sizes only. */
#include "model_struct.h"

#include <sys/mman.h>
#include <unistd.h>

static size_t variable_bytes(const quern__variable *v)
{
    size_t bytes = 0;
    quern__shape_bytes(&v->shape, v->dtype, &bytes);
    return v->panels ? 2 * bytes : bytes;
}

quern__model_size quern__model_bytes(const quern_model *m)
{
    /* Estimates for reading a file: each dataset has pages of its own, and libraries have their
     * heaps. */
    enum { of_libraries = 6 << 18, of_variable = 16 << 10 };
    quern__model_size s = { 0 };
    const quern__variable *v;
    size_t written = 0, bytes, n = 0;
    for (int i = 0; i < quern_model_weights(m); i++, n++) {
        v = quern__model_variable(m, i);
        s.weights += variable_bytes(v);
        written += quern__shape_bytes(&v->shape, v->dtype, &bytes) ? bytes : 0;
    }
    s.snapshot = written;
    for (int i = 0; m->optimizer && (v = quern__optimizer_variable(m->optimizer, i)); i++, n++) {
        s.optimizer += variable_bytes(v);
        written += quern__shape_bytes(&v->shape, v->dtype, &bytes) ? bytes : 0;
    }
    size_t inexact = 0, largest = 0;
    for (int i = 0; (v = quern__model_inexact_variable(m, i)) != NULL; i++) {
        bytes = variable_bytes(v);
        inexact += bytes; /* in a checkpoint a second time */
        largest = bytes > largest ? bytes : largest;
    }
    s.writing = n * of_variable + of_libraries + quern__process_now().files / 4;
    s.writing += inexact + 4 * largest; /* the largest: the sum, quantized again */
    s.image = written + s.writing;
    return s;
}

void quern__model_release_arena(quern_model *m)
{
    /* whole pages inside the arena */
    size_t page = (size_t)sysconf(_SC_PAGESIZE),
           from = ((size_t)(uintptr_t)m->arena + page - 1) / page * page,
           to = ((size_t)(uintptr_t)m->arena + m->arena_bytes) / page * page;
    if (m->arena && to > from)
        madvise((char *)m->arena + (from - (size_t)(uintptr_t)m->arena), to - from, MADV_DONTNEED);
}
