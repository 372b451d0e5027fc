/* each: an object outside the graph maps each record, with counter-based random numbers. The layers
 * of augmentation use it. i[0] is the address of the quern__each, which the layer owns. Output 0 is
 * the result (B, …), output 1 scratch (B, scratch) float32. */
#include "build.h"

/* Calls the object once per record. The key has seed and epoch; the counter has the record. */
static int each_reference(const quern__call *c, int64_t begin, int64_t end)
{
    const quern__each *each = (const quern__each *)(intptr_t)c->attr->i[0];
    int64_t records = c->in[0].shape.dims[0],
            per = records ? quern_shape_count(&c->in[0].shape) / records : 0,
            given = records ? quern_shape_count(&c->out[0].shape) / records : 0,
            room = c->out[1].shape.dims[1];
    quern__random_key key =
        quern__random_key_of(c->run->seed ^ quern__hash64(each->seed), QUERN__RANDOM_AUGMENTATION,
                             (uint64_t)c->run->epoch);
    quern__part p = quern__call_part(c, &c->out[0].shape, begin, end);
    for (int64_t r = given ? p.start / given : 0; given && r < (p.start + p.length) / given; r++)
        each->make(each->self, (quern__draws){ key, (uint64_t)(c->run->first + r), 0 },
                   (const float *)c->in[0].data + r * per, (float *)c->out[0].data + r * given,
                   (float *)c->out[1].data + r * room);
    return 0;
}

/* Trained variables before this op would need its gradient. */
static void each_gradient(quern__graph *g, const quern__node *node, const quern__id *dy,
                          quern__id *dx)
{
    (void)dy;
    dx[0] = quern__graph_fail(g, QUERN_UNSUPPORTED,
                              "%s: has no gradient; put it before the trained layers", node->scope);
}

const quern__op quern__op_each = { .name = "each",
                                   .ways = quern__ways_rows,
                                   .gradient = each_gradient,
                                   .reference = each_reference,
                                   .inner = 2 };

quern__id quern__each_record(quern__graph *g, quern__id x, const quern__each *each,
                             const quern_shape *shape)
{
    quern_shape shapes[2] = {
        *shape, { .rank = 2, .dims = { shape->dims[0], each->scratch > 0 ? each->scratch : 1 } }
    };
    quern__attr attr = { .i = { (intptr_t)each } };
    quern__id out[2];
    return x ? quern__graph_node(g, &quern__op_each, quern__op_each.name, &x, 1, &attr, shapes,
                                 (const int32_t[]){ QUERN_FLOAT32, QUERN_FLOAT32 }, 2, out)
             : 0;
}
