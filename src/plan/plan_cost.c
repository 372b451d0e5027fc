/* A rough cost model (roofline; Williams, Waterman and Patterson, 2009). A node is bound by its
 * products or by memory, whichever takes longer. The memory budget compares plans by it, and
 * recomputation cuts and weighs stages by it; nothing else uses it.
 *
 * The inputs and outputs count once each, as if none of them were in a cache. A view costs
 * nothing. */
#include "plan.h"

enum { most_values = 24 };

/* Two threads of a present processor: multiply-adds a second, bytes a second from memory, and the
 * fixed time of a call in seconds.
 */
static const double products = 7e10, bytes_read = 1.2e10, call = 1e-6;

double quern__plan_seconds(const quern__graph *g, int n, int64_t capacity)
{
    const quern__node *node = quern__graph_node_at(g, n);
    quern_shape shapes[most_values];
    int n_in = node->n_in, n_out = node->n_out;
    double bytes = 0;
    if (node->op->view)
        return 0;
    for (int i = 0; i < n_in + n_out; i++) {
        quern__id id = i < n_in ? node->in[i] : node->out[i - n_in];
        quern_shape s = quern__shape_close(*quern__shape_of(g, id), capacity);
        bytes += (double)quern_shape_count(&s) *
                 (double)quern_dtype_size(quern__graph_value(g, id)->dtype);
        if (i < most_values)
            shapes[i] = s;
    }
    bool counted = node->op->work && n_in + n_out <= most_values;
    double work = counted ? node->op->work(&node->attr, shapes, shapes + n_in) / products : 0;
    return call + (work > bytes / bytes_read ? work : bytes / bytes_read);
}
