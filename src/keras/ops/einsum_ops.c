/* einsum_ops: einsum of any number of operands: subscripts are read into labels, repeated labels
 * become diagonals, and operands are contracted from the first to the last. Semantics:
 * keras.src.ops.numpy of Keras 3.15. */
#include "contraction.h"

#include <stdio.h>
#include <string.h>

enum { most = QUERN_MAX_RANK };

enum { most_terms = 16 };

/* An operand and the labels of its axes. */
typedef struct term {
    quern__id x;
    char labels[2 * most + 1];
} term;

static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

/* Reads one term of the subscripts. An ellipsis becomes the labels '0', '1', …, one for each
 * remaining axis, of which the last has the highest number. */
static bool read_term(const char **at, int rank, char *out)
{
    int letters = 0, count = 0;
    for (const char *p = *at; *p && *p != ',' && *p != '-'; p++)
        letters += is_letter(*p);
    for (; **at && **at != ',' && **at != '-'; ++*at) {
        if (is_letter(**at)) {
            if (count == most)
                return false;
            out[count++] = **at;
        } else if (!strncmp(*at, "...", 3)) {
            for (int k = letters; k < rank && count < most; k++)
                out[count++] = (char)('0' + most - rank + k);
            *at += 2;
        } else if (**at != ' ')
            return false;
    }
    out[count] = 0;
    return true;
}

/* Operand k of Python's *args: the next of the values, or a constant at that place. */
static quern__id einsum_operand(quern__layer *l, quern__graph *g, const quern__id *in, int n, int k,
                                int *values)
{
    char place[16];
    snprintf(place, sizeof place, "%d", k + 1);
    quern__id constant = quern__operand_or_none(l, g, in, n, place);
    return constant ? constant : quern__layer_argument(l, in, n, "*operands", (*values)++);
}

/* Replaces two axes of the same label by their diagonal. */
static void repeated_labels(quern__graph *g, term *t)
{
    for (int i = 0; t->labels[i] && t->x; i++) {
        char label = t->labels[i], *other = strchr(t->labels + i + 1, label);
        if (!other)
            continue;
        t->x = quern__op_diagonal(g, t->x, i, (int)(other - t->labels), 0);
        memmove(other, other + 1, strlen(other));
        memmove(t->labels + i, t->labels + i + 1, strlen(t->labels + i));
        size_t end = strlen(t->labels);
        t->labels[end] = label;
        t->labels[end + 1] = 0;
        i = -1;
    }
}

/* The labels of an implicit result: those of an ellipsis, then those that occur once, in order. */
static void implicit(const term *terms, int count, char *out)
{
    int n = 0;
    for (int c = '0'; c <= 'z'; c++) {
        int times = 0;
        for (int k = 0; k < count; k++)
            for (const char *p = terms[k].labels; *p; p++)
                times += *p == c;
        if (n < most && (c < 'A' ? times > 0 : times == 1))
            out[n++] = (char)c;
    }
    out[n] = 0;
}

/* Reads the operands and the labels of the result. Returns their number; 0: the graph has an
 * error. */
static int read_subscripts(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                           term *terms, char *out)
{
    const char *text = quern__config_text(l->config, "subscripts"), *at = text ? text : "";
    int count = 0, values = 0, dots = 0;
    bool fits = text != NULL;
    while (fits) {
        term *t = &terms[count];
        t->x = einsum_operand(l, g, in, n, count, &values);
        fits = t->x && read_term(&at, quern__op_rank(g, t->x), t->labels) &&
               (int)strlen(t->labels) == quern__op_rank(g, t->x);
        for (const char *p = t->labels; fits && *p; p++)
            dots = *p < 'A' && most - (*p - '0') > dots ? most - (*p - '0') : dots;
        count++;
        if (!fits || *at != ',')
            break;
        at++;
        fits = count < most_terms;
    }
    if (fits && !*at)
        implicit(terms, count, out);
    else if (fits) {
        fits = !strncmp(at, "->", 2);
        at += fits ? 2 : 0;
        int letters = 0;
        for (const char *p = at; *p; p++)
            letters += is_letter(*p);
        fits = fits && letters + dots <= most && read_term(&at, letters + dots, out) && !*at;
    }
    if (fits)
        return count;
    quern__graph_fail(g, QUERN_UNSUPPORTED, "subscripts '%.60s' are not in this version",
                      text ? text : "?");
    return 0;
}

/* The labels of the product of the first two terms: those that the result or a later term has. */
static void kept_labels(const term *terms, int count, const char *out, char *labels)
{
    size_t n = 0;
    for (int k = 0; k < 2; k++)
        for (const char *p = terms[k].labels; *p; p++) {
            bool needed = strchr(out, *p) != NULL;
            for (int i = 2; i < count && !needed; i++)
                needed = strchr(terms[i].labels, *p) != NULL;
            labels[n] = 0;
            if (needed && n < most && !strchr(labels, *p))
                labels[n++] = *p;
        }
    labels[n] = 0;
}

/* Contraction of operands by subscripts, from the first to the last. */
static quern__id einsum(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    term terms[most_terms] = { 0 };
    char out[2 * most + 1] = "";
    int count = read_subscripts(l, g, in, n, terms, out);
    (void)training;
    for (int k = 0; k < count; k++)
        repeated_labels(g, &terms[k]);
    for (; count > 1; count--) {
        quern__contraction c = { .a = "" };
        strcpy(c.a, terms[0].labels);
        strcpy(c.b, terms[1].labels);
        if (count > 2)
            kept_labels(terms, count, out, c.out);
        else
            memcpy(c.out, out, sizeof c.out - 1);
        terms[0].x = quern__op_contract(g, &c, terms[0].x, terms[1].x);
        strcpy(terms[0].labels, c.out);
        memmove(&terms[1], &terms[2], sizeof *terms * (size_t)(count - 2));
    }
    if (!count || !terms[0].x)
        return 0;
    quern__id y = quern__op_summed(g, terms[0].x, terms[0].labels, "", out);
    return strlen(out) == strlen(terms[0].labels)
               ? quern__op_ordered(g, y, terms[0].labels, out)
               : quern__graph_fail(g, QUERN_SHAPE, "the result has a label that no operand has");
}

static const quern__call_arg einsum_args[] = { { "*operands", true }, { 0 } };
static const quern__field einsum_fields[] = { { "subscripts", QUERN__F_TEXT, NULL }, { 0 } };
QUERN__OPERATION_ROW(einsum, "Einsum", "numpy", einsum_fields, einsum, einsum_args, 0);
