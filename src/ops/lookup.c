/* lookup: an object outside the graph maps the elements of each record, numbers or strings, to
 * numbers. Layers with a vocabulary use it. The layer owns the quern__look. */
#include "build.h"

/* Calls the object for each group of `taken` elements; its error becomes a fault with the
 * record. */
static int lookup_reference(const quern__call *c, int64_t begin, int64_t end)
{
    const quern__look *look = (const quern__look *)(intptr_t)c->attr->i[QUERN__LOOKUP_OBJECT];
    int64_t taken = c->attr->i[QUERN__LOOKUP_TAKEN], given = c->attr->i[QUERN__LOOKUP_GIVEN];
    quern__part p = quern__call_part(c, &c->out[0].shape, begin, end);
    for (int64_t k = p.start / given; k < (p.start + p.length) / given; k++) {
        const char *why = "";
        int status = look->look(look->self, c->in, k * taken, taken,
                                (float *)c->out[0].data + k * given, &why);
        if (status < 0) {
            int64_t records = c->in[0].shape.dims[0],
                    per = records ? quern_shape_count(&c->in[0].shape) / records : 1;
            return quern__call_fault(c, status, k * taken / per, 0, 0, why);
        }
    }
    return 0;
}

const quern__op quern__op_lookup = { .name = "lookup",
                                     .ways = quern__ways_rows,
                                     .reference = lookup_reference };

quern__id quern__lookup(quern__graph *g, const quern__id *x, int n, const quern__look *look,
                        int64_t taken, int64_t given, const quern_shape *shape)
{
    quern__attr attr = { .i = { [QUERN__LOOKUP_OBJECT] = (intptr_t)look,
                                [QUERN__LOOKUP_TAKEN] = taken,
                                [QUERN__LOOKUP_GIVEN] = given } };
    return quern__build(g, &quern__op_lookup, x, n, &attr, shape, QUERN_FLOAT32);
}
