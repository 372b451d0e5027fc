/* Keras's summary: the table of layers and what they hold (keras.src.utils.summary_utils). */
#include "model.h"

#include <stdio.h>
#include <string.h>

typedef struct counts {
    long long all, trained;
    double bytes, trained_bytes;
} counts;

static void count(const quern__layer *l, counts *c)
{
    for (int i = 0; i < l->n_weights; i++) {
        const quern__variable *v = l->weights[i];
        long long n = (long long)quern_shape_count(&v->shape);
        double bytes = (double)n * (double)quern_dtype_size(v->dtype);
        c->all += n;
        c->bytes += bytes;
        c->trained += v->trainable ? n : 0;
        c->trained_bytes += v->trainable ? bytes : 0;
    }
}

/* 1234567 as "1,234,567". */
static const char *grouped(long long n, char out[32])
{
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%lld", n), k = 0;
    for (int i = 0; i < length; i++) {
        if (i && (length - i) % 3 == 0)
            out[k++] = ',';
        out[k++] = digits[i];
    }
    out[k] = 0;
    return out;
}

static void add_total(quern__text *t, const char *what, long long n, double bytes)
{
    static const char *const units[] = { "B", "KB", "MB", "GB", "TB", "PB" };
    char number[32];
    int unit = 0;
    for (; bytes >= 1024 && unit < 5; unit++)
        bytes /= 1024;
    quern__text_add(t, " %s: %s (%.2f %s)\n", what, grouped(n, number), bytes, units[unit]);
}

static void repeat(quern__text *t, const char *what, int n)
{
    while (n-- > 0)
        quern__text_add(t, "%s", what);
}

/* A line of the frame: left end, filling, joints, right end. */
static void rule(quern__text *t, const int *widths, int n, const char *left, const char *fill, const char *joint, const char *right)
{
    quern__text_add(t, "%s", left);
    for (int i = 0; i < n; i++) {
        repeat(t, fill, widths[i]);
        quern__text_add(t, "%s", i + 1 < n ? joint : right);
    }
    quern__text_add(t, "\n");
}

/* What of a text fits into `room` characters: up to the last blank, or as much as there is room for. */
static int piece(const char *text, int room)
{
    int n = (int)strlen(text), at = room;
    if (n <= room)
        return n;
    while (at > 0 && text[at] != ' ')
        at--;
    return at ? at : room;
}

/* Cells go on below where they are too narrow; the third column stands to the right. */
static void row(quern__text *t, const int *widths, int n, const char (*cells)[200], const char *bar)
{
    const char *rest[4] = { cells[0], cells[1], cells[2], n > 3 ? cells[3] : "" };
    for (bool more = true; more;) {
        more = false;
        quern__text_add(t, "%s", bar);
        for (int i = 0; i < n; i++) {
            int room = widths[i] - 2, length = piece(rest[i], room);
            if (i == 2)
                quern__text_add(t, " %*.*s %s", room, length, rest[i], bar);
            else
                quern__text_add(t, " %-*.*s %s", room, length, rest[i], bar);
            rest[i] += length;
            rest[i] += strspn(rest[i], " ");
            more = more || *rest[i];
        }
        quern__text_add(t, "\n");
    }
}

/* The cells of one layer. */
static void cells_of(const quern_model *m, int k, char (*cells)[200])
{
    const quern__applied *node = &m->b->nodes[k];
    counts c = { 0 };
    char number[32];
    count(node->layer, &c);
    snprintf(cells[0], sizeof *cells, "%.90s (%.90s)", node->layer->name, node->layer->kind->name);
    quern_shape_text(quern__made_shape(m->b, node->first), cells[1], sizeof *cells);
    snprintf(cells[2], sizeof *cells, "%s", grouped(c.all, number));
    snprintf(cells[3], sizeof *cells, "%s", node->n_in ? "" : "-");
    for (int i = 0; i < node->n_in; i++) {
        size_t at = strlen(cells[3]);
        snprintf(cells[3] + at, sizeof *cells - at, "%s%.60s[%d][%d]", i ? ", " : "", quern__maker(m->b, node->in[i])->layer->name,
                 quern__maker(m->b, node->in[i])->call, m->b->values[node->in[i]].output);
    }
}

char *quern_model_summary(const quern_model *m)
{
    static const int straight[] = { 33, 24, 15 }, branched[] = { 21, 19, 13, 19 };
    static const char head[4][200] = { "Layer (type)", "Output Shape", "Param #", "Connected to" };
    const int *widths = m->sequential ? straight : branched, n = m->sequential ? 3 : 4;
    quern__text t = { 0 };
    counts all = { 0 };
    char cells[4][200];
    bool first = true;
    quern__text_add(&t, "Model: \"%s\"\n", m->name);
    rule(&t, widths, n, "┏", "━", "┳", "┓");
    row(&t, widths, n, head, "┃");
    rule(&t, widths, n, "┡", "━", "╇", "┩");
    for (int k = 0; k < m->b->n; k++) {
        if (m->b->nodes[k].again || (m->sequential && m->b->nodes[k].n_in == 0))
            continue;
        count(m->b->nodes[k].layer, &all);
        if (!first)
            rule(&t, widths, n, "├", "─", "┼", "┤");
        cells_of(m, k, cells);
        row(&t, widths, n, (const char(*)[200])cells, "│");
        first = false;
    }
    rule(&t, widths, n, "└", "─", "┴", "┘");
    long long slots = 0;
    double slot_bytes = 0;
    const quern__variable *kept;
    const quern__optimizer *leader = quern__optimizer_leader(m->optimizer);
    if (leader && *(int64_t *)leader->iteration->data > 0)
        for (int i = 0; (kept = quern__optimizer_variable(m->optimizer, i)); i++) {
            slots += (long long)quern_shape_count(&kept->shape);
            slot_bytes += 4.0 * (double)quern_shape_count(&kept->shape);
        }
    add_total(&t, "Total params", all.all + slots, all.bytes + slot_bytes);
    add_total(&t, "Trainable params", all.trained, all.trained_bytes);
    add_total(&t, "Non-trainable params", all.all - all.trained, all.bytes - all.trained_bytes);
    if (slots)
        add_total(&t, "Optimizer params", slots, slot_bytes);
    char *out = t.failed ? NULL : strdup(t.data);
    quern__text_free(&t);
    return out;
}

char *quern_model_summary_json(const quern_model *m)
{
    json_t *layers = json_array(), *root;
    counts all = { 0 };
    for (int k = 0; k < m->b->n; k++) {
        const quern__applied *node = &m->b->nodes[k];
        counts own = { 0 };
        json_t *shape = json_array();
        const quern_shape *made = quern__made_shape(m->b, node->first);
        if (node->again) {
            json_decref(shape);
            continue;
        }
        count(node->layer, &own);
        count(node->layer, &all);
        for (int i = 0; i < made->rank; i++)
            json_array_append_new(shape, made->dims[i] < 0 ? json_null() : json_integer(made->dims[i]));
        json_array_append_new(layers, json_pack("{s:s, s:s, s:o, s:I}", "name", node->layer->name, "class", node->layer->kind->name,
                                                "output_shape", shape, "params", (json_int_t)own.all));
    }
    root = json_pack("{s:s, s:o, s:I, s:I}", "name", m->name, "layers", layers, "params", (json_int_t)all.all, "trainable",
                     (json_int_t)all.trained);
    char *text = json_dumps(root, JSON_COMPACT), *out = text ? strdup(text) : NULL;
    json_decref(root);
    free(text);
    return out;
}
