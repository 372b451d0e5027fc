/* Predictions as text: rows of a table, with names of classes and columns that are kept, or lines of JSON. */
#include "predict.h"

#include <math.h>
#include <string.h>

/* ---- fields ---- */

/* A field as RFC 4180 has it: in quotes where it needs them. */
static void put_field(FILE *to, const char *text, size_t n, char separator)
{
    bool plain = true;
    for (size_t i = 0; i < n; i++)
        plain = plain && text[i] != separator && text[i] != '"' && text[i] != '\n' && text[i] != '\r';
    if (plain) {
        fwrite(text, 1, n, to);
        return;
    }
    putc('"', to);
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '"')
            putc('"', to);
        putc(text[i], to);
    }
    putc('"', to);
}

static void put_number(FILE *to, double v, bool json) { fprintf(to, json && !isfinite(v) ? "null" : "%.9g", v); }

/* "kind:ant": the name of number k of an output. */
static void number_name(const writing *w, const predicted *o, int64_t k, char *out, size_t size)
{
    const char *class = quern_schema_class(w->schema, o->target, (int)(o->width == 1 && o->classes == 2 ? 1 : k));
    if (class)
        snprintf(out, size, "%s:%s", o->name, class);
    else if (o->width == 1)
        snprintf(out, size, "%s", o->name);
    else
        snprintf(out, size, "%s:%lld", o->name, (long long)k);
}

/* ---- what is written of a record ---- */

/* Whether an output has a likeliest class. */
static bool has_winner(const predicted *o) { return o->classes > 0 || o->width > 1; }

/* Numbers of an output; logits become probabilities where only the likeliest is told. */
static void read_row(const writing *w, const predicted *o, const float *from)
{
    double most = -INFINITY, sum = 0;
    for (int64_t k = 0; k < o->width; k++) {
        w->row[k] = (double)from[k];
        most = w->row[k] > most ? w->row[k] : most;
    }
    for (int64_t k = 0; k < o->width && w->winner && o->logits == QUERN_LOGITS_SOFTMAX; k++)
        sum += w->row[k] = exp(w->row[k] - most);
    for (int64_t k = 0; k < o->width && w->winner && o->logits == QUERN_LOGITS_SOFTMAX; k++)
        w->row[k] /= sum;
    for (int64_t k = 0; k < o->width && w->winner && o->logits == QUERN_LOGITS_SIGMOID; k++)
        w->row[k] = 1 / (1 + exp(-w->row[k]));
}

/* The likeliest class of the row, and how likely it is. */
static const char *winner(const writing *w, const predicted *o, char *number, size_t size, double *probability)
{
    int best = 0;
    if (o->width == 1) { /* of two classes */
        best = w->row[0] >= 0.5;
        *probability = best ? w->row[0] : 1 - w->row[0];
    } else {
        for (int64_t k = 1; k < o->width; k++)
            best = w->row[k] > w->row[best] ? (int)k : best;
        *probability = w->row[best];
    }
    snprintf(number, size, "%d", best);
    const char *name = quern_schema_class(w->schema, o->target, best);
    return name ? name : number;
}

static char separator_of(const writing *w) { return w->kind == TSV ? '\t' : ','; }

void cli_rows_header(const writing *w)
{
    char name[1200], separator = separator_of(w);
    int n = 0;
    for (int i = 0; i < w->n_kept; i++) {
        if (n++)
            putc(separator, w->to);
        put_field(w->to, w->kept[i], strlen(w->kept[i]), separator);
    }
    for (int i = 0; i < w->n_outputs; i++) {
        const predicted *o = &w->outputs[i];
        bool one = w->winner && has_winner(o);
        for (int64_t k = 0; k < (one ? 2 : o->width); k++) {
            if (one)
                snprintf(name, sizeof name, k ? "%s:probability" : "%s", o->name);
            else
                number_name(w, o, k, name, sizeof name);
            if (n++)
                putc(separator, w->to);
            put_field(w->to, name, strlen(name), separator);
        }
    }
    putc('\n', w->to);
}

void cli_rows_put(const writing *w, const quern_prediction *p, int64_t r)
{
    char number[24], separator = separator_of(w);
    int n = 0;
    for (int i = 0; i < w->n_kept; i++) {
        if (n++)
            putc(separator, w->to);
        put_field(w->to, p->kept[i][r].data, (size_t)p->kept[i][r].size, separator);
    }
    for (int i = 0; i < w->n_outputs; i++) {
        const predicted *o = &w->outputs[i];
        double probability;
        read_row(w, o, p->outputs[i] + r * o->width);
        for (int64_t k = 0; k < o->width && !(w->winner && has_winner(o)); k++) {
            if (n++)
                putc(separator, w->to);
            put_number(w->to, w->row[k], false);
        }
        if (!w->winner || !has_winner(o))
            continue;
        const char *name = winner(w, o, number, sizeof number, &probability);
        if (n++)
            putc(separator, w->to);
        put_field(w->to, name, strlen(name), separator);
        putc(separator, w->to);
        put_number(w->to, probability, false);
    }
    putc('\n', w->to);
}

/* Numbers of an output in lists as its shape has them. */
static void put_list(const writing *w, const predicted *o, int axis, int64_t *at)
{
    if (axis == o->shape.rank) {
        put_number(w->to, w->row[(*at)++], true);
        return;
    }
    putc('[', w->to);
    for (int64_t k = 0; k < o->shape.dims[axis]; k++) {
        if (k)
            putc(',', w->to);
        put_list(w, o, axis + 1, at);
    }
    putc(']', w->to);
}

static void put_json_output(const writing *w, const predicted *o)
{
    char number[24], name[1200];
    double probability;
    int64_t at = 0;
    cli_json_text(w->to, o->name, strlen(o->name));
    putc(':', w->to);
    if (w->winner && has_winner(o)) {
        const char *class = winner(w, o, number, sizeof number, &probability);
        cli_json_text(w->to, class, strlen(class));
        snprintf(name, sizeof name, "%s:probability", o->name);
        putc(',', w->to);
        cli_json_text(w->to, name, strlen(name));
        putc(':', w->to);
        put_number(w->to, probability, true);
    } else if (o->classes == o->width && o->classes) {
        for (int64_t k = 0; k < o->width; k++) {
            const char *class = quern_schema_class(w->schema, o->target, (int)k);
            putc(k ? ',' : '{', w->to);
            cli_json_text(w->to, class, strlen(class));
            putc(':', w->to);
            put_number(w->to, w->row[k], true);
        }
        putc('}', w->to);
    } else if (o->width == 1)
        put_number(w->to, w->row[0], true);
    else
        put_list(w, o, 1, &at);
}

void cli_rows_json(const writing *w, const quern_prediction *p, int64_t r)
{
    int n = 0;
    putc('{', w->to);
    for (int i = 0; i < w->n_kept; i++) {
        if (n++)
            putc(',', w->to);
        cli_json_text(w->to, w->kept[i], strlen(w->kept[i]));
        putc(':', w->to);
        cli_json_text(w->to, p->kept[i][r].data, (size_t)p->kept[i][r].size);
    }
    for (int i = 0; i < w->n_outputs; i++) {
        if (n++)
            putc(',', w->to);
        read_row(w, &w->outputs[i], p->outputs[i] + r * w->outputs[i].width);
        put_json_output(w, &w->outputs[i]);
    }
    fputs("}\n", w->to);
}
