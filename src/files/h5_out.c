/* h5_out: writes bytes at offsets of a file or image. The first write error is kept and reported
 * when the file is finished. */
#include "h5_out.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* Keeps the first error; 0 counts as EIO. */
static void note(quern__h5_out *o, int why)
{
    if (!o->why)
        o->why = why ? why : EIO;
}

uint64_t quern__h5_place(quern__h5_out *o, size_t n)
{
    uint64_t at = (o->end + 7) / 8 * 8;
    o->end = at + n;
    return at;
}

/* Ensures capacity, with a reserve so that small writes do not reallocate each time. */
static bool make_room(quern__image *image, size_t n)
{
    enum { step = 64 << 10 };
    if (n <= image->room)
        return true;
    size_t room = n + (step - n % step);
    char *grown = room > n ? quern__realloc(image->bytes, room) : NULL;
    if (!grown)
        return false;
    image->bytes = grown;
    image->room = room;
    return true;
}

/* Writes bytes at an offset of the image; a gap before them becomes zeros. */
static void keep(quern__h5_out *o, size_t to, const void *bytes, size_t n)
{
    quern__image *image = o->image;
    if (!make_room(image, to + n)) {
        note(o, ENOMEM);
        return;
    }
    if (to > image->n)
        memset(image->bytes + image->n, 0, to - image->n);
    if (n)
        memcpy(image->bytes + to, bytes, n);
    image->n = to + n > image->n ? to + n : image->n;
}

void quern__h5_put(quern__h5_out *o, uint64_t at, const void *bytes, size_t n)
{
    if (o->why)
        return;
    if (o->image)
        keep(o, (size_t)at, bytes, n);
    else if (!quern__write_at(o->fd, bytes, n, (int64_t)at))
        note(o, errno);
}

void quern__h5_put_text(quern__h5_out *o, uint64_t at, quern__text *t)
{
    if (t->failed)
        note(o, ENOMEM);
    else
        quern__h5_put(o, at, t->data, t->length);
    quern__text_free(t);
}

void quern__h5_end(quern__h5_out *o)
{
    if (o->image)
        quern__h5_put(o, o->end, NULL, 0);
    else if (!o->why && ftruncate(o->fd, (off_t)o->end))
        note(o, errno);
}

void quern__h5_add(quern__text *t, uint64_t v, int bytes)
{
    char out[8];
    for (int i = 0; i < bytes; i++, v >>= 8)
        out[i] = (char)(v & 255);
    quern__text_add_bytes(t, out, (size_t)bytes);
}

void quern__h5_fill(quern__text *t, size_t n)
{
    static const char zeros[64];
    while (!t->failed && t->length < n)
        quern__text_add_bytes(t, zeros,
                              n - t->length < sizeof zeros ? n - t->length : sizeof zeros);
}

void quern__h5_pad(quern__text *t) { quern__h5_fill(t, (t->length + 7) / 8 * 8); }

void quern__h5_add_message(quern__text *t, int type, int flags, const quern__text *message)
{
    size_t n = (message->length + 7) / 8 * 8;
    quern__h5_add(t, (uint64_t)type, 2);
    quern__h5_add(t, n, 2);
    quern__h5_add(t, (uint64_t)flags, 4); /* and three reserved bytes */
    quern__text_append(t, message);
    quern__h5_fill(t, t->length + n - message->length);
}

uint64_t quern__h5_put_object(quern__h5_out *o, quern__text *messages, int n_messages)
{
    enum { head = 16 };
    quern__text t = { 0 };
    quern__h5_add(&t, 1, 2); /* version */
    quern__h5_add(&t, (uint64_t)n_messages, 2);
    quern__h5_add(&t, 1, 4); /* reference count */
    quern__h5_add(&t, messages->length, 8);
    quern__text_append(&t, messages);
    uint64_t at = quern__h5_place(o, head + messages->length);
    quern__h5_put_text(o, at, &t);
    quern__text_free(messages);
    return at;
}
