/* Predictions as text: rows of a table, with class names and kept columns, or lines of JSON. */
#include "predict.h"

#include <math.h>
#include <string.h>

/* ---- fields ---- */

/* Writes a field as in RFC 4180, in quotes if necessary. */
static void put_field(FILE *to, const char *text, size_t n, char separator)
{
    bool plain = true;
    for (size_t i = 0; i < n; i++)
        plain =
            plain && text[i] != separator && text[i] != '"' && text[i] != '\n' && text[i] != '\r';
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

static void put_number(FILE *to, double v, bool json)
{
    fprintf(to, json && !isfinite(v) ? "null" : "%.9g", v);
}

/* "kind:ant": the name of number k of a part. The number of a sigmoid has the name of the second
 * class. */
static void number_name(const writing *w, const part *t, int64_t k, char *out, size_t size)
{
    bool sigmoid = t->width == 1 && t->classes;
    const char *class = sigmoid && t->classes < 2 ? NULL : cli_part_class(w, t, sigmoid ? 1 : k);
    if (class && (t->width > 1 || sigmoid))
        snprintf(out, size, "%s:%s", t->name, class);
    else if (t->width == 1)
        snprintf(out, size, "%s", t->name);
    else
        snprintf(out, size, "%s:%lld", t->name, (long long)k);
}

/* ---- the text of a record ---- */

/* Whether a part prints its most probable class only. */
static bool prints_winner(const writing *w, const part *t)
{
    return w->winner && cli_part_has_winner(t);
}

/* The name of the number after the class: a hinge loss has scores, not probabilities. */
static const char *score_name(const part *t)
{
    return t->means == QUERN_MEANS_SIGN ? "score" : "probability";
}

/* Reads the numbers of a part. Converts logits to probabilities if only the most probable class is
 * printed. */
static void read_row(const writing *w, const part *t, const float *from)
{
    double most = -INFINITY, sum = 0;
    for (int64_t k = 0; k < t->width; k++) {
        w->row[k] = (double)from[k];
        most = w->row[k] > most ? w->row[k] : most;
    }
    for (int64_t k = 0; k < t->width && w->winner && t->logits == QUERN_LOGITS_SOFTMAX; k++)
        sum += w->row[k] = exp(w->row[k] - most);
    for (int64_t k = 0; k < t->width && w->winner && t->logits == QUERN_LOGITS_SOFTMAX; k++)
        w->row[k] /= sum;
    for (int64_t k = 0; k < t->width && w->winner && t->logits == QUERN_LOGITS_SIGMOID; k++)
        w->row[k] = 1 / (1 + exp(-w->row[k]));
}

/* The most probable class of the row, and its probability. */
static const char *winner(const writing *w, const part *t, char *number, size_t size,
                          double *probability)
{
    int best = 0;
    if (t->width == 1) { /* two classes */
        bool sign = t->means == QUERN_MEANS_SIGN;
        best = w->row[0] >= (sign ? 0 : 0.5);
        *probability = best || sign ? w->row[0] : 1 - w->row[0];
        snprintf(number, size, "%d", sign && !best ? -1 : best);
    } else {
        for (int64_t k = 1; k < t->width; k++)
            best = w->row[k] > w->row[best] ? (int)k : best;
        *probability = w->row[best];
        snprintf(number, size, "%d", best);
    }
    const char *name = t->classes ? cli_part_class(w, t, best) : NULL;
    return name ? name : number;
}

static char separator_of(const writing *w) { return w->kind == TSV ? '\t' : ','; }

void cli_rows_header(const writing *w)
{
    char name[2400], separator = separator_of(w);
    int n = 0;
    for (int i = 0; i < w->n_kept; i++) {
        if (n++)
            putc(separator, w->to);
        put_field(w->to, w->kept[i], strlen(w->kept[i]), separator);
    }
    for (int64_t i = 0; i < w->n_parts; i++) {
        const part *t = &w->parts[i];
        for (int64_t k = 0; k < (prints_winner(w, t) ? 2 : t->width); k++) {
            if (!prints_winner(w, t))
                number_name(w, t, k, name, sizeof name);
            else
                snprintf(name, sizeof name, k ? "%s:%s" : "%s", t->name, score_name(t));
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
    for (int64_t i = 0; i < w->n_parts; i++) {
        const part *t = &w->parts[i];
        double probability;
        read_row(w, t, p->outputs[t->output] + r * w->outputs[t->output].width + t->from);
        for (int64_t k = 0; k < t->width && !prints_winner(w, t); k++) {
            if (n++)
                putc(separator, w->to);
            put_number(w->to, w->row[k], false);
        }
        if (!prints_winner(w, t))
            continue;
        const char *name = winner(w, t, number, sizeof number, &probability);
        if (n++)
            putc(separator, w->to);
        put_field(w->to, name, strlen(name), separator);
        putc(separator, w->to);
        put_number(w->to, probability, false);
    }
    putc('\n', w->to);
}

/* Writes an output as nested JSON lists of its shape; a part as one list. */
static void put_list(const writing *w, const part *t, int axis, int64_t *at)
{
    const quern_shape *shape = &w->outputs[t->output].shape;
    if (t->whole && axis == shape->rank) {
        put_number(w->to, w->row[(*at)++], true);
        return;
    }
    putc('[', w->to);
    for (int64_t k = 0; k < (t->whole ? shape->dims[axis] : t->width); k++) {
        if (k)
            putc(',', w->to);
        if (t->whole)
            put_list(w, t, axis + 1, at);
        else
            put_number(w->to, w->row[k], true);
    }
    putc(']', w->to);
}

static void put_json_winner(const writing *w, const part *t)
{
    char number[24], name[1200];
    double probability;
    const char *class = winner(w, t, number, sizeof number, &probability);
    cli_json_text(w->to, class, strlen(class));
    snprintf(name, sizeof name, "%s:%s", t->name, score_name(t));
    putc(',', w->to);
    cli_json_text(w->to, name, strlen(name));
    putc(':', w->to);
    put_number(w->to, probability, true);
}

static void put_json_part(const writing *w, const part *t)
{
    int64_t at = 0;
    cli_json_text(w->to, t->name, strlen(t->name));
    putc(':', w->to);
    if (prints_winner(w, t))
        put_json_winner(w, t);
    else if (t->classes == t->width && t->width > 1) {
        for (int64_t k = 0; k < t->width; k++) {
            const char *class = cli_part_class(w, t, k);
            putc(k ? ',' : '{', w->to);
            cli_json_text(w->to, class, strlen(class));
            putc(':', w->to);
            put_number(w->to, w->row[k], true);
        }
        putc('}', w->to);
    } else if (t->width == 1)
        put_number(w->to, w->row[0], true);
    else
        put_list(w, t, 1, &at);
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
    for (int64_t i = 0; i < w->n_parts; i++) {
        const part *t = &w->parts[i];
        if (n++)
            putc(',', w->to);
        read_row(w, t, p->outputs[t->output] + r * w->outputs[t->output].width + t->from);
        put_json_part(w, t);
    }
    fputs("}\n", w->to);
}
