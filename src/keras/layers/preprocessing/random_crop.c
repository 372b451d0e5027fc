/* random_crop: Keras's RandomCrop: a part of each image, at a position that is drawn for each
 * record. */
#include "augmentation.h"

typedef struct crop {
    quern__of_size of;
    quern__each each;
    quern__picture to;
} crop;

static void crop_record(const void *self, quern__draws draws, const float *in, float *out,
                        float *scratch)
{
    const crop *k = self;
    const quern__picture *from = &k->of.picture, *to = &k->to;
    int64_t top = (int64_t)(quern__drawn(&draws, 0) * (double)(from->height - to->height + 1)),
            left = (int64_t)(quern__drawn(&draws, 1) * (double)(from->width - to->width + 1));
    (void)scratch;
    for (int64_t y = 0; y < to->height; y++)
        for (int64_t x = 0; x < to->width; x++)
            for (int64_t c = 0; c < to->channels; c++)
                out[y * to->y_step + x * to->x_step + c * to->c_step] =
                    in[(top + y) * from->y_step + (left + x) * from->x_step + c * from->c_step];
}

/* The crop of images of one size. Returns new. */
static void *crop_new(const quern__layer *l, const quern_shape *in, quern_error *err)
{
    crop *k = quern__zalloc(1, sizeof *k);
    if (!k) {
        quern__fail_memory(err, sizeof *k);
        return NULL;
    }
    quern_shape out = *in;
    int first = quern__channels_first(l) ? 2 : 1;
    out.dims[first] = quern__config_int(l->config, "height");
    out.dims[first + 1] = quern__config_int(l->config, "width");
    k->of.picture = quern__picture_of(l, in);
    k->to = quern__picture_of(l, &out);
    k->each = (quern__each){ crop_record, k, 0, quern__config_seed(l->config, l->seed) };
    return k;
}

static int crop_build(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    int status = quern__resizing_build(l, in, n, err);
    if (status >= 0 && !(l->object = crop_new(l, in, err)))
        status = QUERN_NOMEM;
    return status;
}

/* As in Keras, an image that is not larger than the target is resized. In prediction the centre is
 * cropped, as in Keras 2 (Keras 3 documents this, but returns the image as it is). */
static quern__id crop_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                           bool training)
{
    const crop *k = quern__state_of_size(l, g, quern__shape_of(g, in[0]), crop_new);
    if (!k)
        return 0;
    if (!training || k->of.picture.height <= k->to.height || k->of.picture.width <= k->to.width)
        return quern__resizing_call(l, g, in, n, training);
    quern__id x = quern__cast(g, in[0], QUERN_FLOAT32);
    quern_shape out = *quern__shape_of(g, x);
    int first = quern__channels_first(l) ? 2 : 1;
    out.dims[first] = k->to.height;
    out.dims[first + 1] = k->to.width;
    return quern__each_record(g, x, &k->each, &out);
}

static void crop_drop(quern__layer *l) { quern__states_of_sizes_free(l, quern__free); }

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
