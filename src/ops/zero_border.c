/* zero_border: removes a border of zeros before a convolution. ZeroPadding copies an image into a
 * larger one; the windows of a convolution count the outside of an image as 0 already. The border
 * therefore becomes part of the frame, and the copy is a dead node unless something else reads it. */
#include "build.h"
#include "convolve.h"

/* Whether a value is 0 everywhere, as quern__pad makes it. */
static bool is_zero(const quern__graph *g, quern__id x)
{
    const quern__value *v = quern__graph_value(g, x);
    if (v->kind != QUERN__VALUE_NODE)
        return v->kind == QUERN__VALUE_CONSTANT && v->constant == 0;
    const quern__node *node = quern__graph_node_at(g, v->node);
    return node->op == &quern__op_broadcast && is_zero(g, node->in[0]);
}

/* The image inside a border of zeros along one spatial axis; 0: x is something else. `before` gets
 * the size of the border in front of it, `axis` the axis. */
static quern__id inside(const quern__graph *g, quern__id x, int *axis, int64_t *before)
{
    const quern__value *v = quern__graph_value(g, x);
    const quern__node *node =
        v->kind == QUERN__VALUE_NODE ? quern__graph_node_at(g, v->node) : NULL;
    quern__id image = 0;
    *before = 0;
    if (!node || node->op != &quern__op_concat)
        return 0;
    *axis = (int)node->attr.i[0];
    for (int k = 0; k < node->n_in; k++) {
        bool zero = is_zero(g, node->in[k]);
        if (!zero && image)
            return 0;
        image = zero ? image : node->in[k];
        if (!image)
            *before += quern__graph_value(g, node->in[k])->shape.dims[*axis];
    }
    return image;
}

quern__id quern__without_border(const quern__graph *g, quern__id x, quern__frame *f)
{
    int axis;
    int64_t before;
    for (quern__id image; (image = inside(g, x, &axis, &before)) != 0; x = image) {
        if (axis < 1 || axis > f->axes)
            break;
        f->before[3 - f->axes + axis - 1] += before;
    }
    return x;
}
