/* accuracy: accuracies, whose value is 1 where the prediction is right. Formulas:
 * https://keras.io/api/metrics/accuracy_metrics/ */
#include "keras/losses/losses.h"

/* Mean and Sum use the values as they are. */
quern__id quern__values(quern__graph *g, json_t *config, quern__id t, quern__id p)
{
    (void)g, (void)config, (void)t;
    return p;
}

#define VALUE(NAME) quern__id NAME(quern__graph *g, json_t *config, quern__id t, quern__id p)

VALUE(quern__equal)
{
    (void)config;
    quern__match(g, &t, &p);
    return quern__binary(g, QUERN__EQUAL, t, p);
}

/* Keras 2 treats labels without a known shape as one-hot; they get a last axis of size 1 here. */
static quern__id column(quern__graph *g, quern__id t, quern__id p)
{
    if (!t || !p || quern__shape_of(g, t)->rank + 1 != quern__shape_of(g, p)->rank)
        return t;
    quern_shape s = *quern__shape_of(g, t);
    s.dims[s.rank++] = 1;
    return quern__reshape(g, t, &s);
}

VALUE(quern__argmax_equal)
{
    (void)config;
    quern__match_ranks(g, &t, &p);
    t = column(g, t, p);
    return quern__binary(g, QUERN__EQUAL, quern__argmax(g, t), quern__argmax(g, p));
}

VALUE(quern__sparse_equal)
{
    (void)config;
    quern__id best = quern__argmax(g, p);
    return best ? quern__binary(
                      g, QUERN__EQUAL,
                      quern__cast(g, quern__reshape(g, t, quern__shape_of(g, best)), QUERN_FLOAT32),
                      best)
                : 0;
}

VALUE(quern__binary_equal)
{
    if (!t || !p)
        return 0;
    quern__match(g, &t, &p);
    quern__id threshold = quern__graph_constant(g, quern__config_number(config, "threshold"),
                                                quern__graph_value(g, p)->dtype);
    return quern__last_mean(
        g, quern__binary(g, QUERN__EQUAL, t, quern__binary(g, QUERN__GREATER, p, threshold)));
}

VALUE(quern__sparse_top_k)
{
    if (!t || !p)
        return 0;
    quern_shape rows = *quern__shape_of(g, p);
    int last = --rows.rank;
    if (quern__config_bool(
            config, "from_sorted_ids")) { /* predictions are label ids, the most probable first */
        quern_shape column = rows;
        column.dims[column.rank++] = 1;
        int64_t k = quern__config_int(config, "k"), all = quern__shape_of(g, p)->dims[last];
        quern__id first =
            quern__cast(g, quern__slice(g, p, last, 0, k < all ? k : all), QUERN_FLOAT32);
        t = quern__cast(g, quern__reshape(g, t, &column), QUERN_FLOAT32);
        return quern__reduce(g, QUERN__REDUCE_MAX, quern__binary(g, QUERN__EQUAL, t, first),
                             1u << last, false);
    }
    return quern__in_top_k(g, p, quern__reshape(g, t, &rows), quern__config_int(config, "k"));
}

VALUE(quern__top_k)
{
    quern__match_ranks(g, &t, &p);
    return quern__in_top_k(g, p, quern__argmax(g, t), quern__config_int(config, "k"));
}
