/* Reads many CSV records in one call. The caller's thread finds complete records without quotes in
 * the buffer. Two threads convert one half each. The results equal those of sequential reading,
 * errors included: the first bad record is left to the next call.
 *
 * The second thread ("twin") starts at the first call, and waits on a condition between calls. It
 * has a copy of the reader's state with a field buffer of its own, so the threads share only the
 * bytes and the columns, which neither changes. The first record of a call is read normally; this
 * also reads more bytes, opens the next file, and handles quotes. */
#include "csv.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

enum { most_together = 4096, worth = 64 };

/* A record in the buffer, and its line. */
typedef struct span {
    char *p, *e;
    int64_t line;
} span;

/* The work of one thread: records [from, to) of the spans. */
typedef struct half {
    quern__csv csv; /* a copy with its own `field` */
    const span *spans;
    int from, to, failed; /* failed: the first bad record, or `to` */
    float *x;
    double *y;
} half;

struct quern__csv_twin {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool running, asked, stop;
    half mine, other;
    span spans[most_together];
};

static int64_t doubles(const quern__csv *f) { return f->n_targets + f->weighted; }

/* Converts the records of one half until the first bad one. Errors have no text here. */
static void read_half(half *h)
{
    int64_t nx = h->csv.n_slots, ny = doubles(&h->csv);
    for (h->failed = h->from; h->failed < h->to; h->failed++) {
        const span *s = &h->spans[h->failed];
        h->csv.line = s->line;
        if (quern__csv_record(&h->csv, s->p, s->e, h->x + h->failed * nx, h->y + h->failed * ny,
                              NULL) < 0)
            return;
    }
}

/* The second thread: converts its half whenever `asked` is set. */
static void *twin_work(void *arg)
{
    struct quern__csv_twin *t = arg;
    pthread_mutex_lock(&t->lock);
    while (!t->stop) {
        if (!t->asked) {
            pthread_cond_wait(&t->changed, &t->lock);
            continue;
        }
        pthread_mutex_unlock(&t->lock);
        read_half(&t->other);
        pthread_mutex_lock(&t->lock);
        t->asked = false;
        pthread_cond_broadcast(&t->changed);
    }
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

/* Creates the state; without a second processor it has no thread. NULL: no memory. */
static struct quern__csv_twin *twin_new(void)
{
    struct quern__csv_twin *t = quern__zalloc(1, sizeof *t);
    if (!t)
        return NULL;
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->changed, NULL);
    t->running =
        sysconf(_SC_NPROCESSORS_ONLN) > 1 && !quern__thread_start(&t->thread, twin_work, t);
    return t;
}

void quern__csv_twin_free(struct quern__csv_twin *t)
{
    if (!t)
        return;
    pthread_mutex_lock(&t->lock);
    t->stop = true;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
    if (t->running)
        pthread_join(t->thread, NULL);
    pthread_mutex_destroy(&t->lock);
    pthread_cond_destroy(&t->changed);
    quern__free(t->mine.csv.field);
    quern__free(t->other.csv.field);
    quern__free(t);
}

/* Finds up to `most` complete records after the current one and moves the buffer past them. */
static int find_spans(quern__csv *f, span *spans, int most)
{
    quern__bytes *b = &f->bytes;
    /* without quotes, each newline ends a record; records of the next block are left */
    char *p = b->buffer + b->begin + f->used, *end = b->buffer + b->end;
    int64_t line = f->line + 1 + f->inner;
    int n = 0;
    int64_t left = quern__csv_left(f);
    const char *stop = left < end - p ? p + left : end;
    if (p >= stop || memchr(p, '"', (size_t)(end - p)))
        return 0;
    while (n < most && p < stop) {
        char *newline = memchr(p, '\n', (size_t)(end - p));
        if (!newline)
            break;
        char *e = newline > p && newline[-1] == '\r' ? newline - 1 : newline;
        if (e > p || f->n == 1)
            spans[n++] = (span){ p, e, line };
        p = newline + 1;
        line++;
    }
    b->begin = (size_t)(p - b->buffer);
    f->used = 0;
    f->line = line;
    return n;
}

/* Gives records [from, to) of the spans to a half, which keeps its field buffer. */
static void half_set(half *h, const quern__csv *f, const span *spans, int from, int to, float *x,
                     double *y)
{
    char *field = h->csv.field;
    size_t room = h->csv.field_room;
    h->csv = *f;
    h->csv.field = field;
    h->csv.field_room = room;
    h->spans = spans;
    h->from = from;
    h->to = to;
    h->x = x;
    h->y = y;
}

/* Converts n spans. Returns the number of good records before the first bad one. */
static int read_spans(quern__csv *f, int n, float *x, double *y)
{
    struct quern__csv_twin *t = f->twin;
    bool together = t->running && n >= worth;
    half_set(&t->mine, f, t->spans, 0, together ? n / 2 : n, x, y);
    /* the second half goes to the other thread */
    if (together) {
        pthread_mutex_lock(&t->lock);
        half_set(&t->other, f, t->spans, n / 2, n, x, y);
        t->asked = true;
        pthread_cond_broadcast(&t->changed);
        pthread_mutex_unlock(&t->lock);
    }
    read_half(&t->mine);
    if (together) {
        pthread_mutex_lock(&t->lock);
        while (t->asked)
            pthread_cond_wait(&t->changed, &t->lock);
        pthread_mutex_unlock(&t->lock);
    }
    return t->mine.failed < t->mine.to || !together ? t->mine.failed : t->other.failed;
}

/* Makes the record of a span the next one. */
static void go_back(quern__csv *f, const span *to)
{
    f->bytes.begin = (size_t)(to->p - f->bytes.buffer);
    f->line = to->line;
}

int64_t quern__csv_many(void *self, float *x, double *y, int64_t most, quern_error *err)
{
    quern__csv *f = self;
    int status = quern__csv_read(f, x, y, err);
    if (status != QUERN_OK)
        return status < 0 ? status : 0;
    if (most > 1 && !f->twin)
        f->twin = twin_new();
    if (most < 2 || !f->twin)
        return 1;
    int n =
        find_spans(f, f->twin->spans, most - 1 < most_together ? (int)(most - 1) : most_together);
    int good = n ? read_spans(f, n, x + f->n_slots, y + doubles(f)) : 0;
    if (good < n) /* the next call reports the error */
        go_back(f, &f->twin->spans[good]);
    return 1 + good;
}
