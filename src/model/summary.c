/* summary: Keras's model summary: the table of layers and the numbers of parameters
 * (keras.src.utils.summary_utils). */
#include "base/json.h"
#include "model_struct.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct counts {
    long long all, trained;
    double bytes, trained_bytes;
} counts;

/* Adds the parameters and bytes of a layer's weights. */
static void count_parameters(const quern__layer *l, counts *c)
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

/* Formats 1234567 as "1,234,567". */
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

/* A line of the frame: left end, fill, joints, right end. */
static void rule(quern__text *t, const int *widths, int n, const char *left, const char *fill,
                 const char *joint, const char *right)
{
    quern__text_add(t, "%s", left);
    for (int i = 0; i < n; i++) {
        repeat(t, fill, widths[i]);
        quern__text_add(t, "%s", i + 1 < n ? joint : right);
    }
    quern__text_add(t, "\n");
}

/* Bytes of the UTF-8 character at p. */
static size_t character(const char *p)
{
    size_t n = 1;
    while (((unsigned char)p[n] & 0xc0) == 0x80)
        n++;
    return n;
}

/* The next line of a cell with `room` columns, up to the last blank that fits, or one word. Returns
 * its bytes; sets its characters. */
static size_t line_of(const char *text, int room, int *characters)
{
    size_t at = 0, end = 0;
    int n = 0, fits = 0;
    for (; text[at]; at += character(text + at), n++) {
        if (text[at] == ' ' && n > 0 && text[at - 1] != ' ')
            end = at, fits = n;
        if (n == room && end && text[end])
            break;
    }
    if (!text[at] && n <= room)
        end = at, fits = n;
    else if (!end || fits > room) { /* one word that is too long */
        end = at = strspn(text, " ");
        end += strcspn(text + at, " ");
        fits = room + 1;
    }
    *characters = fits;
    return end;
}

/* Writes a cell padded to `room` columns, or truncated with an ellipsis. */
static void write_cell(quern__text *t, const char *text, size_t bytes, int characters, int room,
                       bool right, bool centred)
{
    int before = right ? room - characters : centred ? (room - characters) / 2 : 0, k = 0;
    if (characters > room) { /* truncated */
        size_t at = 0;
        for (; k < room - 1; k++)
            at += character(text + at);
        quern__text_add(t, " %.*s… ", (int)at, text);
        return;
    }
    quern__text_add(t, " %*s%.*s%*s ", before, "", (int)bytes, text, room - characters - before,
                    "");
}

enum { most_columns = 5, name_column = 0, shape_column, count_column, connections_column };

/* The columns of a table; the widths are those of Keras for a terminal of 80 columns. */
typedef struct table {
    const int *widths;
    int n;
    bool connected, trainable;
    const quern_summary_opts *o;
} table;

/* Writes a row; long cells continue on further lines, numbers are right-aligned. */
static void row(quern__text *t, const table *of, const char *const *cells, const char *bar)
{
    const char *rest[most_columns];
    memcpy(rest, cells, (size_t)of->n * sizeof *rest);
    for (bool more = true; more;) {
        more = false;
        quern__text_add(t, "%s", bar);
        for (int i = 0; i < of->n; i++) {
            int characters;
            size_t bytes = line_of(rest[i], of->widths[i] - 2, &characters);
            write_cell(t, rest[i], bytes, characters, of->widths[i] - 2, i == count_column,
                       of->trainable && i == of->n - 1);
            quern__text_add(t, "%s", bar);
            rest[i] += bytes;
            rest[i] += strspn(rest[i], " ");
            more = more || *rest[i];
        }
        quern__text_add(t, "\n");
    }
}

/* Lists the inputs of a layer as "layer[call][output]". */
static void add_connections(const quern_model *m, const quern__layer *l, quern__text *out)
{
    for (int k = 0; k < m->b->n; k++) {
        const quern__call_node *node = &m->b->nodes[k];
        if (node->layer == l)
            for (int i = 0; i < node->n_in; i++) {
                const quern__call_node *from = quern__producer(m->b, node->in[i]);
                quern__text_add(out, "%s%s[%d][%d]", out->length ? ", " : "", from->layer->name,
                                from->call, m->b->values[node->in[i]].output);
            }
    }
}

static void add_shapes(const quern_model *m, const quern__call_node *node, quern__text *out)
{
    char text[200];
    for (int i = 0; i < node->n_out; i++) {
        quern_shape shape = quern__symbolic_shape(m->b, node->first + i);
        quern__text_add(out, "%s%s",
                        i                 ? ", "
                        : node->n_out > 1 ? "["
                                          : "",
                        quern_shape_text(&shape, text, sizeof text));
    }
    quern__text_add(out, node->n_out > 1 ? "]" : "");
}

/* The row of a layer; `depth` is the number of enclosing models. */
static void layer_row(quern__text *t, const quern_model *m, int k, const table *of, int depth)
{
    const quern__call_node *node = &m->b->nodes[k];
    const quern__layer *l = node->layer;
    counts c = { 0 };
    char number[32];
    quern__text cells[most_columns] = { 0 };
    const char *texts[most_columns];
    count_parameters(l, &c);
    quern__text_add(&cells[name_column], "%*s%s%s (%s)", 3 * depth, "", depth ? "└ " : "", l->name,
                    l->kind->name);
    add_shapes(m, node, &cells[shape_column]);
    quern__text_add(&cells[count_column], "%s", grouped(c.all, number));
    if (of->connected && depth == 0)
        add_connections(m, l, &cells[connections_column]);
    if (of->connected && !cells[connections_column].length)
        quern__text_add(&cells[connections_column], "-");
    if (of->trainable)
        quern__text_add(&cells[of->n - 1], "%s", !l->n_weights ? "-" : l->trainable ? "Y" : "N");
    for (int i = 0; i < of->n; i++) {
        t->failed = t->failed || cells[i].failed;
        texts[i] = cells[i].failed ? "" : cells[i].data;
    }
    row(t, of, texts, "│");
    for (int i = 0; i < of->n; i++)
        quern__text_free(&cells[i]);
}

/* Writes the rows of all layers, with those of nested models when `expand_nested` is set. */
static void layer_rows(quern__text *t, const quern_model *m, const table *of, int depth,
                       bool *first)
{
    for (int k = 0; k < m->b->n; k++) {
        const quern__call_node *node = &m->b->nodes[k];
        if (node->again || (m->sequential && node->n_in == 0))
            continue;
        if (!*first)
            rule(t, of->widths, of->n, "├", "─", "┼", "┤");
        *first = false;
        layer_row(t, m, k, of, depth);
        if (of->o->expand_nested && node->layer->kind->model)
            layer_rows(t, node->layer->object, of, depth + 1, first);
    }
}

/* Whether the model is a chain: each layer is called once, with the output of the previous one. */
static bool one_path(const quern_model *m)
{
    for (int k = 1; k < m->b->n; k++) {
        const quern__call_node *node = &m->b->nodes[k];
        if (node->again || node->n_in != 1 || m->b->values[node->in[0]].node != k - 1)
            return false;
    }
    return true;
}

/* Writes the totals of parameters and, after the first step, of optimizer variables. */
static void totals(quern__text *t, const quern_model *m)
{
    counts all = { 0 };
    long long slots = 0;
    double slot_bytes = 0;
    for (int k = 0; k < m->b->n; k++)
        if (!m->b->nodes[k].again)
            count_parameters(m->b->nodes[k].layer, &all);
    const quern__variable *kept;
    const quern__optimizer *leader = quern__optimizer_leader(m->optimizer);
    if (leader && *(int64_t *)leader->iteration->data > 0)
        for (int i = 0; (kept = quern__optimizer_variable(m->optimizer, i)); i++) {
            slots += (long long)quern_shape_count(&kept->shape);
            slot_bytes += 4.0 * (double)quern_shape_count(&kept->shape);
        }
    add_total(t, "Total params", all.all + slots, all.bytes + slot_bytes);
    add_total(t, "Trainable params", all.trained, all.trained_bytes);
    add_total(t, "Non-trainable params", all.all - all.trained, all.bytes - all.trained_bytes);
    if (slots)
        add_total(t, "Optimizer params", slots, slot_bytes);
}

char *quern_model_summary_with(const quern_model *m, const quern_summary_opts *opts)
{
    if (!m)
        return NULL;
    static const int widths[4][most_columns] = {
        { 33, 24, 15 }, { 21, 19, 12, 19 }, { 29, 23, 12, 7 }, { 19, 17, 11, 16, 7 }
    };
    enum { opts_0_1 = 16 };
    quern_summary_opts own, *o = &own;
    if (QUERN__OPTIONS(own, opts_0_1, opts, NULL) < 0)
        return NULL;
    table of = { .connected = !m->sequential && !one_path(m),
                 .trainable = o->show_trainable != 0,
                 .o = o };
    of.n = 3 + of.connected + of.trainable;
    of.widths = widths[2 * of.trainable + of.connected];
    const char *head[most_columns] = { "Layer (type)", "Output Shape", "Param #",
                                       of.connected ? "Connected to" : "Trainable", "Trainable" };
    quern__text t = { 0 };
    bool first = true;
    quern__text_add(&t, "Model: \"%s\"\n", m->name);
    rule(&t, of.widths, of.n, "┏", "━", "┳", "┓");
    row(&t, &of, head, "┃");
    rule(&t, of.widths, of.n, "┡", "━", "╇", "┩");
    layer_rows(&t, m, &of, 0, &first);
    rule(&t, of.widths, of.n, "└", "─", "┴", "┘");
    totals(&t, m);
    char *out = t.failed ? NULL : strdup(t.data);
    quern__text_free(&t);
    return out;
}

char *quern_model_summary(const quern_model *m) { return quern_model_summary_with(m, NULL); }

char *quern_model_summary_json(const quern_model *m)
{
    if (!m)
        return NULL;
    quern__memory_watch();
    json_t *layers = json_array(), *root;
    counts all = { 0 };
    for (int k = 0; k < m->b->n; k++) {
        const quern__call_node *node = &m->b->nodes[k];
        counts own = { 0 };
        json_t *shape = json_array();
        quern_shape made = quern__symbolic_shape(m->b, node->first);
        if (node->again) {
            json_decref(shape);
            continue;
        }
        count_parameters(node->layer, &own);
        count_parameters(node->layer, &all);
        for (int i = 0; i < made.rank; i++)
            json_array_append_new(shape,
                                  made.dims[i] < 0 ? json_null() : json_integer(made.dims[i]));
        json_array_append_new(layers, json_pack("{s:s, s:s, s:o, s:I}", "name", node->layer->name,
                                                "class", node->layer->kind->name, "output_shape",
                                                shape, "params", (json_int_t)own.all));
    }
    root = json_pack("{s:s, s:o, s:I, s:I}", "name", m->name, "layers", layers, "params",
                     (json_int_t)all.all, "trainable", (json_int_t)all.trained);
    char *out = quern__json_text(root, JSON_COMPACT);
    json_decref(root);
    return out;
}
