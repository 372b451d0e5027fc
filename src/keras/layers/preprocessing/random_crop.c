/* random_crop: Keras's RandomCrop: a part of each image, at a position that is drawn for each
 * record. */
#include "augmentation.h"

typedef struct crop {
    quern__each each;
    quern__picture from, to;
    struct crop *next; /* the same for images of another size; NULL: the last */
} crop;

static void crop_record(const void *self, quern__draws draws, const float *in, float *out,
                        float *scratch)
{
    const crop *k = self;
    int64_t top = (int64_t)(quern__drawn(&draws, 0) * (double)(k->from.height - k->to.height + 1)),
            left = (int64_t)(quern__drawn(&draws, 1) * (double)(k->from.width - k->to.width + 1));
    (void)scratch;
    for (int64_t y = 0; y < k->to.height; y++)
        for (int64_t x = 0; x < k->to.width; x++)
            for (int64_t c = 0; c < k->to.channels; c++)
                out[y * k->to.y_step + x * k->to.x_step + c * k->to.c_step] =
                    in[(top + y) * k->from.y_step + (left + x) * k->from.x_step +
                       c * k->from.c_step];
}

/* The crop of images of one size. Returns new; NULL: out of memory. */
static crop *crop_new(const quern__layer *l, const quern_shape *in)
{
    crop *k = quern__zalloc(1, sizeof *k);
    if (!k)
        return NULL;
    quern_shape out = *in;
    int first = quern__channels_first(l) ? 2 : 1;
    out.dims[first] = quern__config_int(l->config, "height");
    out.dims[first + 1] = quern__config_int(l->config, "width");
    k->from = quern__picture_of(l, in);
    k->to = quern__picture_of(l, &out);
    k->each = (quern__each){ crop_record, k, 0, quern__config_seed(l->config, l->seed) };
    return k;
}

static int crop_build(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    int status = quern__resizing_build(l, in, n, err);
    if (status >= 0 && !(l->object = crop_new(l, in)))
        status = quern__fail_memory(err, sizeof(crop));
    return status;
}

/* The crop for images of this shape, whose nodes of earlier graphs keep theirs. NULL: the graph has
 * an error. */
static const crop *crop_for(quern__layer *l, quern__graph *g, const quern_shape *shape)
{
    enum { most = 256 };
    quern__picture from = quern__picture_of(l, shape);
    crop *k = l->object, *last = k;
    for (int n = 0; k; n++, last = k, k = k->next) {
        if (k->from.height == from.height && k->from.width == from.width)
            return k;
        if (n == most) {
            quern__graph_fail(g, QUERN_UNSUPPORTED, "images of more than %d sizes", most);
            return NULL;
        }
    }
    k = last->next = crop_new(l, shape);
    if (!k)
        quern__graph_fail(g, QUERN_NOMEM, "out of memory");
    return k;
}

/* As in Keras, an image that is not larger than the target is resized. In prediction the centre is
 * cropped, as in Keras 2 (Keras 3 documents this, but returns the image as it is). */
static quern__id crop_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                           bool training)
{
    const crop *k = crop_for(l, g, quern__shape_of(g, in[0]));
    if (!k)
        return 0;
    if (!training || k->from.height <= k->to.height || k->from.width <= k->to.width)
        return quern__resizing_call(l, g, in, n, training);
    quern__id x = quern__cast(g, in[0], QUERN_FLOAT32);
    quern_shape out = *quern__shape_of(g, x);
    int first = quern__channels_first(l) ? 2 : 1;
    out.dims[first] = k->to.height;
    out.dims[first + 1] = k->to.width;
    return quern__each_record(g, x, &k->each, &out);
}

static void crop_drop(quern__layer *l)
{
    for (crop *k = l->object, *next; k; k = next) {
        next = k->next;
        quern__free(k);
    }
}

static const quern__field crop_fields[] = { { "height", QUERN__F_INT, NULL },
                                            { "width", QUERN__F_INT, NULL },
                                            { "seed", QUERN__F_INT, "null" },
                                            { "data_format", QUERN__F_TEXT, "\"channels_last\"" },
                                            { 0 } };
const quern__class quern__layer_random_crop = { .group = QUERN__LAYER,
                                                .name = "RandomCrop",
                                                .aliases = "",
                                                .module = "keras.layers",
                                                .fields = crop_fields,
                                                .build = crop_build,
                                                .call = crop_call,
                                                .destroy_state = crop_drop,
                                                .extra = QUERN__CUT };
