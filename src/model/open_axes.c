/* open_axes: axes of inputs whose size is None in Keras: sequences of any length, images of any
 * size.
 *
 * Graphs and plans have fixed sizes, except the batch axis. A model with open axes therefore is
 * *closed* over the shapes of its inputs: all values get the sizes that follow from them, and each
 * mode gets a program for them when it is first used. The model keeps the closings that it used
 * last, so that shapes which come again are not planned again. All programs share one arena.
 *
 * While a model is built, each open axis has two sizes, QUERN__OPEN_SIZE and QUERN__OPEN_SECOND.
 * Axes of values that differ between both are open too. A layer that fails for the second size
 * needs a fixed one, such as Dense over an open last axis. */
#include "model_struct.h"

#include <string.h>

bool quern__model_open(const quern_model *m) { return m->b->open; }
bool quern__model_sized(const quern_model *m) { return m->sized; }

quern_shape quern__symbolic_shape(const quern_blueprint *b, int value)
{
    quern_shape shape = b->values[value].shape;
    for (int k = 1; k < shape.rank; k++)
        if (b->values[value].open >> k & 1)
            shape.dims[k] = -1;
    return shape;
}

bool quern__fits_symbolic(const quern_shape *symbolic, const quern_shape *given)
{
    bool fits = given->rank == symbolic->rank;
    for (int k = 1; k < symbolic->rank && fits; k++)
        fits = symbolic->dims[k] < 0 || given->dims[k] == symbolic->dims[k];
    return fits;
}

/* Checks shapes against the inputs: only open axes may differ. */
static int check_input(const quern_model *m, int i, const quern_shape *given, quern_error *err)
{
    char have[96], want[96];
    quern_shape own = quern__symbolic_shape(m->b, m->in[i]);
    bool fits = quern__fits_symbolic(&own, given);
    for (int k = 1; k < own.rank && fits; k++)
        fits = own.dims[k] >= 0 || given->dims[k] > 0;
    if (fits)
        return QUERN_OK;
    return quern__fail(
        err, QUERN_SHAPE, quern_model_input_name(m, i), "has shape %s, the model expects %s",
        quern_shape_text(given, have, sizeof have), quern_shape_text(&own, want, sizeof want));
}

quern_shape quern__model_symbolic_input(const quern_model *m, int i)
{
    return quern__symbolic_shape(m->b, m->in[i]);
}

uint32_t quern_model_input_open(const quern_model *m, int i)
{
    return m && i >= 0 && i < m->n_in ? m->b->values[m->in[i]].open & ~1u : 0;
}

int quern_model_set_input_shapes(quern_model *m, const quern_shape *shapes, quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "model", m, "shapes", shapes);
    if (m->runs)
        return quern__fail(err, QUERN_INVALID, m->name, "is in use by a run");
    for (int i = 0; i < m->n_in; i++) {
        int fits = check_input(m, i, &shapes[i], err);
        if (fits < 0)
            return fits;
    }
    int status = quern__model_close(m, shapes, err);
    if (status >= 0)
        quern__model_bound(m);
    return status;
}

/* ---- programs and shapes that come again ---- */

/* A closing: the shapes of the inputs and those of all values. */
struct quern__closing {
    uint64_t id, used; /* the model's count when it was new, and when it was in use last */
    quern_shape in[QUERN__MAX_IO], *shapes;
};

/* A program of another closing than the present one. */
struct quern__kept_program {
    quern__program program;
    quern__mode mode;
};

void quern__model_drop(quern_model *m, quern__mode mode)
{
    quern__program_free(&m->programs[mode]);
    for (int i = 0; i < m->n_kept_programs; i++)
        if (m->kept_programs[i].mode == mode) {
            quern__program_free(&m->kept_programs[i].program);
            m->kept_programs[i--] = m->kept_programs[--m->n_kept_programs];
        }
}

void quern__model_forget_plans(quern_model *m)
{
    quern__model_drop(m, QUERN__TRAIN);
    quern__model_drop(m, QUERN__TEST);
}

void quern__closings_free(quern_model *m)
{
    for (int i = 0; i < m->n_closings; i++)
        quern__free(m->closings[i].shapes);
    for (int i = 0; i < m->n_kept_programs; i++)
        quern__program_free(&m->kept_programs[i].program);
    quern__free(m->closings);
    quern__free(m->kept_programs);
}

/* Keeps a program. The list is in the order of use: the first one goes if it is full. */
static int keep_program(quern_model *m, quern__mode mode, quern_error *err)
{
    struct quern__kept_program *kept = m->kept_programs;
    if (!kept && !(kept = m->kept_programs = quern__zalloc(QUERN__MOST_CLOSINGS, sizeof *kept)))
        return quern__fail_memory(err, QUERN__MOST_CLOSINGS * sizeof *kept);
    if (m->n_kept_programs == QUERN__MOST_CLOSINGS) {
        quern__program_free(&kept->program);
        memmove(kept, kept + 1, (size_t)--m->n_kept_programs * sizeof *kept);
    }
    kept[m->n_kept_programs++] = (struct quern__kept_program){ m->programs[mode], mode };
    m->programs[mode] = (quern__program){ 0 };
    return QUERN_OK;
}

int quern__model_take_program(quern_model *m, quern__mode mode, quern_error *err)
{
    quern__program *own = &m->programs[mode];
    if (!own->plan || own->closing == m->closing)
        return QUERN_OK;
    for (int i = 0; i < m->n_kept_programs; i++) {
        struct quern__kept_program *kept = &m->kept_programs[i], found = *kept;
        if (kept->mode != mode || kept->program.closing != m->closing)
            continue;
        memmove(kept, kept + 1, (size_t)(m->n_kept_programs - i - 1) * sizeof *kept);
        m->kept_programs[m->n_kept_programs - 1] = (struct quern__kept_program){ *own, mode };
        *own = found.program;
        return QUERN_OK;
    }
    return keep_program(m, mode, err);
}

/* Whether these are the present shapes of the inputs. */
static bool closed_over(const quern_model *m, const quern_shape *in)
{
    for (int i = 0; i < m->n_in; i++) {
        const quern_shape *own = quern__tensor_shape(m->b, m->in[i]);
        if (memcmp(own->dims + 1, in[i].dims + 1, (size_t)(own->rank - 1) * sizeof *own->dims))
            return false;
    }
    return true;
}

/* Computes the shapes of all values for the present shapes of the inputs. */
static int infer_shapes(quern_model *m, quern_error *err)
{
    quern_blueprint *b = m->b;
    quern__id penalty = 0, *ids = quern__zalloc(2 * (size_t)b->n_values + 1, sizeof *ids);
    quern__graph *g = ids ? quern__graph_new() : NULL;
    int status = g ? QUERN_OK : quern__fail_memory(err, (size_t)b->n_values * sizeof *ids);
    if (status >= 0)
        quern__model_forward(m, g, false, NULL, ids, ids + b->n_values, &penalty);
    if (status >= 0 && quern__graph_status(g)) {
        char shape[96];
        status =
            quern__fail(err, quern__graph_status(g), quern__graph_error(g)->where,
                        "%s (an input of shape %s)", quern__graph_error(g)->text,
                        quern_shape_text(quern__tensor_shape(b, m->in[0]), shape, sizeof shape));
    }
    for (int v = 0; v < b->n_values && status >= 0; v++)
        if (ids[v])
            b->values[v].shape = *quern__shape_of(g, ids[v]);
    quern__graph_free(g);
    quern__free(ids);
    return status;
}

/* Memory for one more closing: a new one, or that which was used longest ago. NULL: out of memory.
 */
static struct quern__closing *new_closing(quern_model *m)
{
    struct quern__closing *c = m->closings;
    if (!c && !(c = m->closings = quern__zalloc(QUERN__MOST_CLOSINGS, sizeof *c)))
        return NULL;
    if (m->n_closings < QUERN__MOST_CLOSINGS) {
        c += m->n_closings;
        c->shapes = quern__zalloc((size_t)m->b->n_values + 1, sizeof *c->shapes);
        m->n_closings += c->shapes != NULL;
        return c->shapes ? c : NULL;
    }
    for (int i = 1; i < m->n_closings; i++)
        c = m->closings[i].used < c->used ? &m->closings[i] : c;
    return c;
}

/* Records the present shapes in a closing, which gets a new id. */
static void record_closing(quern_model *m, struct quern__closing *c)
{
    for (int i = 0; i < m->n_in; i++)
        c->in[i] = *quern__tensor_shape(m->b, m->in[i]);
    for (int v = 0; v < m->b->n_values; v++)
        c->shapes[v] = m->b->values[v].shape;
    c->id = m->closing = c->used = ++m->closed;
}

/* Takes a closing with the present shapes of the inputs, if it is known. Returns whether it is. */
static bool known_closing(quern_model *m)
{
    for (int i = 0; i < m->n_closings; i++) {
        struct quern__closing *c = &m->closings[i];
        if (!closed_over(m, c->in))
            continue;
        for (int v = 0; v < m->b->n_values; v++)
            m->b->values[v].shape = c->shapes[v];
        m->closing = c->id;
        c->used = ++m->closed;
        return true;
    }
    return false;
}

quern_shape quern__model_closing(const quern_model *m, int i, const quern_shape *have)
{
    quern_shape shape = *quern__tensor_shape(m->b, m->in[i]);
    uint32_t open = m->b->values[m->in[i]].open;
    bool without_last = have->rank == shape.rank - 1 && !(open >> (shape.rank - 1) & 1) &&
                        shape.dims[shape.rank - 1] == 1;
    for (int k = 1; k < shape.rank; k++)
        if (open >> k & 1 && (have->rank == shape.rank || without_last) && have->dims[k] > 0)
            shape.dims[k] = have->dims[k];
    return shape;
}

int quern__model_close(quern_model *m, const quern_shape *in, quern_error *err)
{
    quern_shape before[QUERN__MAX_IO];
    if (!m->b->open || closed_over(m, in))
        return QUERN_OK;
    for (int i = 0; i < m->n_in; i++) {
        int fits = check_input(m, i, &in[i], err);
        if (fits < 0)
            return fits;
    }
    for (int i = 0; i < m->n_in; i++) {
        quern_shape *own = &m->b->values[m->in[i]].shape;
        before[i] = *own;
        memcpy(own->dims + 1, in[i].dims + 1, sizeof own->dims - sizeof *own->dims);
    }
    if (known_closing(m))
        return QUERN_OK;
    quern__program_free(&m->inner);
    struct quern__closing *c = new_closing(m); /* before the shapes change, so that none is lost */
    int status = c ? infer_shapes(m, err)
                   : quern__fail_memory(err, (size_t)m->b->n_values * sizeof *c->shapes);
    if (status >= 0)
        record_closing(m, c);
    for (int i = 0; i < m->n_in && status < 0; i++)
        m->b->values[m->in[i]].shape = before[i];
    return status;
}

void quern__model_bound(quern_model *m)
{
    for (int i = 0; i < m->n_in; i++)
        m->bound[i] = *quern__tensor_shape(m->b, m->in[i]);
    m->sized = m->b->open;
}

int quern__model_close_bound(quern_model *m, quern_error *err)
{
    return quern__model_close(m, m->bound, err);
}
