/* Keras's progress bar, and its line per epoch (keras.src.utils.progbar: width 20, at most 20
 * updates per second). */
#include "callbacks.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { width = 20 };

typedef struct progress {
    int fd, verbose;
    bool colour;
    double start, after_first, drawn;
    size_t visible; /* visible characters of the current line */
} progress;

/* A line in construction: its bytes, and the number of visible characters. */
typedef struct line {
    char text[4096];
    size_t n, visible;
    size_t limit; /* of `visible`: what is more is left out; 0: none */
    bool colour;
} line;

static void line_add(line *l, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void line_add(line *l, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = quern__vformat(l->text + l->n, sizeof l->text - l->n, format, args);
    va_end(args);
    size_t room = sizeof l->text - l->n - 1, added = n > 0 && (size_t)n < room ? (size_t)n : room;
    for (size_t i = 0; i < added; i++) {
        bool first = (l->text[l->n + i] & 0xC0) != 0x80; /* of the bytes of a character */
        if (first && l->limit && l->visible == l->limit)
            added = i;
        else
            l->visible += first;
    }
    l->n += added;
}

/* Adds an escape sequence, which is not visible. */
static void line_colour(line *l, const char *code)
{
    size_t seen = l->visible, limit = l->limit;
    l->limit = 0;
    if (l->colour)
        line_add(l, "\033[%sm", code);
    l->visible = seen;
    l->limit = limit;
}

static void progress_write(const progress *p, const char *bytes, size_t n)
{
    while (n) {
        ssize_t wrote = write(p->fd, bytes, n);
        if (wrote <= 0)
            return; /* a write error does not stop training */
        bytes += wrote;
        n -= (size_t)wrote;
    }
}

/* Adds a duration in Keras's format. */
static void add_time(line *l, double seconds)
{
    long long s = (long long)seconds;
    if (s > 3600)
        line_add(l, "%lld:%02lld:%02lld", s / 3600, s % 3600 / 60, s % 60);
    else if (s > 60)
        line_add(l, "%lld:%02lld", s / 60, s % 60);
    else
        line_add(l, "%llds", s);
}

static void add_per_step(line *l, double seconds)
{
    if (seconds >= 1 || seconds == 0)
        line_add(l, " %.0fs/step", seconds);
    else if (seconds >= 1e-3)
        line_add(l, " %.0fms/step", seconds * 1e3);
    else
        line_add(l, " %.0fus/step", seconds * 1e6);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(**(const char *const *const *)a, **(const char *const *const *)b);
}

/* Adds the logs in alphabetical order, those of validation only at the end. A metric with
 * several results shows its mean only, as in Keras. */
static void add_values(line *l, const quern_event *e, bool absolute)
{
    const char *const *order[2 * QUERN__MAX_MEANS + QUERN__EXTRA_LOGS];
    for (int i = 0; i < e->n_logs; i++)
        order[i] = &e->names[i];
    qsort(order, (size_t)e->n_logs, sizeof *order, by_name);
    for (int i = 0; i < e->n_logs; i++) {
        double v = e->logs[order[i] - e->names];
        if ((isnan(v) && !strncmp(*order[i], "val_", 4)) || strchr(*order[i], '['))
            continue;
        line_add(l, (absolute ? fabs(v) : v) > 1e-3 ? " - %s: %.4f" : " - %s: %.4e", *order[i], v);
    }
}

/* Mean time of a step. The first step, which builds plans, is not counted if there are others. */
static double per_step(const progress *p, const quern_event *e, double now)
{
    if (e->batch >= 2 && p->after_first > 0)
        return (now - p->after_first) / (double)(e->batch - 1);
    return e->batch ? (now - p->start) / (double)e->batch : 0;
}

/* Adds step number and bar; `of` is the number of steps, at most 0: unknown. */
static void add_bar(line *l, int64_t at, int64_t of)
{
    char number[24];
    int digits = snprintf(number, sizeof number, "%lld", (long long)of),
        filled = of > 0 ? (int)(width * at / of) : 0;
    line_colour(l, "1");
    if (of > 0)
        line_add(l, "%*lld/%lld", digits, (long long)at, (long long)of);
    else
        line_add(l, "%7lld/Unknown", (long long)at);
    line_colour(l, "0");
    line_add(l, " ");
    for (int i = 0; i < width && of > 0; i++) {
        if (i == 0 && filled)
            line_colour(l, "32");
        if (i == filled) {
            line_colour(l, "0");
            line_colour(l, "37");
        }
        line_add(l, "━");
    }
    line_colour(l, "0");
    if (of > 0)
        line_add(l, " ");
}

/* Returns the current number of columns of the terminal; 0: unknown. */
static size_t columns_of(int fd)
{
    struct winsize size = { 0 };
    return ioctl(fd, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

/* Redraws the line in place; `last` ends it. A carriage return returns to the start of one row, so
 * every line but the last is cut to one row. A terminal that became too narrow for the previous
 * line gets a new row. */
static void progress_draw(progress *p, const quern_event *e, bool last)
{
    double now = quern__now();
    line l = { .colour = p->colour };
    int64_t of = last ? e->batch : e->steps;
    size_t columns = columns_of(p->fd);
    bool narrower = columns && p->visible >= columns;
    if (p->visible)
        line_add(&l, narrower ? "\n" : "\r");
    p->visible = narrower ? 0 : p->visible;
    l.visible = 0;
    l.limit = last || columns < 2 ? 0 : columns - 1;
    add_bar(&l, e->batch, of);
    line_colour(&l, "1");
    add_time(&l, last || of <= 0 ? now - p->start : per_step(p, e, now) * (double)(of - e->batch));
    line_colour(&l, "0");
    add_per_step(&l, per_step(p, e, now));
    add_values(&l, e, true);
    size_t seen = l.visible;
    while (l.visible < p->visible && l.n + 2 < sizeof l.text)
        line_add(&l, " ");
    if (last)
        line_add(&l, "\n");
    progress_write(p, l.text, l.n);
    p->visible = last ? 0 : seen;
    p->drawn = now;
}

static void progress_start(progress *p)
{
    p->start = quern__now();
    p->after_first = p->drawn = 0;
    p->visible = 0;
}

static int on_epoch_begin(void *user, const quern_event *e, quern_error *err)
{
    progress *p = user;
    line l = { .n = 0 };
    (void)err;
    progress_start(p);
    if (e->epochs > 1 && p->verbose < 3) {
        line_add(&l, "Epoch %lld/%lld\n", (long long)e->epoch + 1, (long long)e->epochs);
        progress_write(p, l.text, l.n);
    }
    return QUERN_OK;
}

static int on_batch(void *user, const quern_event *e, quern_error *err)
{
    progress *p = user;
    (void)err;
    if (e->validating)
        return QUERN_OK;
    quern_event now = *e;
    now.batch++;
    if (now.batch == 1)
        p->after_first = quern__now();
    if (p->verbose == 1 && quern__now() - p->drawn >= 0.05)
        progress_draw(p, &now, false);
    return QUERN_OK;
}

static int on_epoch_end(void *user, const quern_event *e, quern_error *err)
{
    progress *p = user;
    (void)err;
    if (p->verbose == 1) {
        progress_draw(p, e, true);
        return QUERN_OK;
    }
    line l = { .n = 0 };
    double now = quern__now();
    if (p->verbose == 3 && e->epochs > 1)
        line_add(&l, "Epoch %lld/%lld - ", (long long)e->epoch + 1, (long long)e->epochs);
    line_add(&l, "%lld/%lld - ", (long long)e->batch, (long long)e->batch);
    add_time(&l, now - p->start);
    line_add(&l, " -");
    add_per_step(&l, per_step(p, e, now));
    add_values(&l, e, false);
    line_add(&l, "\n");
    progress_write(p, l.text, l.n);
    return QUERN_OK;
}

/* A run that ends within an epoch leaves its line. */
static int on_train_end(void *user, const quern_event *e, quern_error *err)
{
    progress *p = user;
    (void)e, (void)err;
    if (p->visible)
        progress_write(p, "\n", 1);
    p->visible = 0;
    return QUERN_OK;
}

static int on_test_begin(void *user, const quern_event *e, quern_error *err)
{
    (void)err;
    if (!e->validating)
        progress_start(user);
    return QUERN_OK;
}

static int on_test_end(void *user, const quern_event *e, quern_error *err)
{
    return e->validating ? QUERN_OK : on_epoch_end(user, e, err);
}

quern_callback *quern_progress_callback(int fd, int verbose, int colour)
{
    static const quern_hooks hooks = { .on_epoch_begin = on_epoch_begin,
                                       .on_train_batch_end = on_batch,
                                       .on_epoch_end = on_epoch_end,
                                       .on_train_end = on_train_end,
                                       .on_test_begin = on_test_begin,
                                       .on_test_batch_end = on_batch,
                                       .on_test_end = on_test_end };
    progress *p = quern__zalloc(1, sizeof *p);
    if (!p)
        return NULL;
    *p = (progress){ .fd = fd, .verbose = verbose, .colour = colour != 0 };
    quern_callback *c = quern_callback_new(&hooks, p);
    if (c)
        c->free = quern__free;
    else
        quern__free(p);
    return c;
}
