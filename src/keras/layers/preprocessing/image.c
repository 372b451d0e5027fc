/* image: the axes of images: height, width and channels, and the state of layers for each size. */
#include "image.h"

#include <string.h>

quern__picture quern__picture_of(const quern__layer *l, const quern_shape *s)
{
    const int64_t *d = s->dims;
    if (quern__channels_first(l))
        return (quern__picture){ d[2], d[3], d[1], d[3], 1, d[2] * d[3] };
    return (quern__picture){ d[1], d[2], d[3], d[2] * d[3], d[3], 1 };
}

int quern__picture_check(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    char text[96];
    const char *format = quern__config_text(l->config, "data_format");
    bool fits = n == 1 && in->rank == 4;
    for (int i = 1; i < 4 && fits; i++)
        fits = in->dims[i] > 0;
    if (format && strcmp(format, "channels_first") && strcmp(format, "channels_last"))
        return quern__fail(err, QUERN_INVALID, l->name,
                           "data_format '%.40s' is not channels_last or channels_first", format);
    return fits ? QUERN_OK
                : quern__fail(err, QUERN_SHAPE, l->name,
                              "needs images of fixed size, (None, height, width, channels), got %s",
                              quern_shape_text(in, text, sizeof text));
}

const void *quern__state_of_size(quern__layer *l, quern__graph *g, const quern_shape *shape,
                                 quern__make_of_size *make)
{
    enum { most = 256 };
    quern__picture picture = quern__picture_of(l, shape);
    quern__of_size *k = l->object, *last = NULL;
    quern_error err = { 0 };
    int n = 0;
    for (; k && (k->picture.height != picture.height || k->picture.width != picture.width); n++) {
        last = k;
        k = k->next;
    }
    if (k)
        return k;
    if (n >= most || !last) {
        quern__graph_fail(g, QUERN_UNSUPPORTED, "images of more than %d sizes", most);
        return NULL;
    }
    k = last->next = make(l, shape, &err);
    if (!k)
        quern__graph_fail(g, err.code, "%s", err.text);
    return k;
}

void quern__states_of_sizes_free(quern__layer *l, void (*drop)(void *state))
{
    for (quern__of_size *k = l->object, *next; k; k = next) {
        next = k->next;
        drop(k);
    }
}
