/* pipeline_syntax: parses models in pipeline syntax: layers between '|', each applied to the
 * previous value. "as NAME" names the value of a layer. "@NAME" adds a value to the inputs of a
 * layer, and alone continues from that value. A second "input" starts another branch, and a final
 * "output @A @B" names several outputs.
 *
 * The parser has no grammar beyond words: it takes "as NAME" and "@NAME" out of a piece, and gives
 * the rest to the parser of spec strings. Errors go into the blueprint, with the number of the
 * layer and the position in the text. A chain without names becomes a Sequential model, as in
 * Keras. */
#include "model_struct.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { most_names = 64, most_words = 400 };

typedef struct naming {
    quern_blueprint *b;
    int n_in, in[QUERN__MAX_IO], n_names, values[most_names];
    int n_out, out[QUERN__MAX_IO]; /* of a final "output" */
    char names[most_names][48];
    int value;  /* of the previous layer */
    bool plain; /* a plain chain of layers without names */
} naming;

/* Puts the position in the pipeline in front of the error's place. */
static void say_place(quern_error *err, int layer, int character)
{
    char text[sizeof err->text];
    snprintf(text, sizeof text, "%.250s%s%.100s", err->text, *err->where ? " in " : "", err->where);
    snprintf(err->text, sizeof err->text, "%s", text);
    snprintf(err->where, sizeof err->where, "layer %d of the pipeline, character %d", layer,
             character);
}

/* The value of a name; -1 with an error that suggests the nearest name. */
static int named(naming *n, const char *name)
{
    const char *names[most_names];
    for (int i = 0; i < n->n_names; i++) {
        if (!strcmp(n->names[i], name))
            return n->values[i];
        names[i] = n->names[i];
    }
    const char *near = quern__nearest(name, names, (size_t)n->n_names, sizeof *names);
    quern__fail(&n->b->error, QUERN_NOTFOUND, NULL, "no value is called '%s'", name);
    if (near)
        quern__hint(&n->b->error, "did you mean '@%s'?", near);
    return -1;
}

/* Removes "as NAME" from the end; `name` is empty when it does not exist. */
static void take_name(char *words, char *name, size_t size)
{
    char *last = words + strlen(words);
    *name = 0;
    while (last > words && strchr(" \t\n", last[-1]))
        *--last = 0;
    char *start = last;
    while (start > words && !strchr(" \t\n", start[-1]))
        start--;
    char *as = start;
    while (as > words && strchr(" \t\n", as[-1]))
        as--;
    if (as - words >= 3 && !strncmp(as - 2, "as", 2) && strchr(" \t\n", as[-3])) {
        snprintf(name, size, "%s", start);
        for (char *p = as - 3; p >= words && strchr(" \t\n", *p); p--)
            *p = 0;
    }
}

/* Removes every @NAME from the text and appends its value to `values`, which has `have`. Returns
 * the new number, or -1. */
static int take_values(naming *n, char *words, int *values, int have)
{
    char *to = words;
    for (char *p = words; *p;) {
        bool begins = p == words || strchr(" \t\n", p[-1]);
        if (*p != '@' || !begins) {
            *to++ = *p++;
            continue;
        }
        char name[48];
        size_t length = strcspn(p + 1, " \t\n");
        snprintf(name, sizeof name, "%.*s", (int)length, p + 1);
        p += 1 + length;
        int value = named(n, name);
        if (value < 0 || have == QUERN__MAX_ARGUMENTS)
            return -1;
        values[have++] = value;
    }
    *to = 0;
    return have;
}

/* Whether the first word names this class, in any spelling. */
static bool first_word_is(const char *words, const char *word)
{
    char own[32];
    size_t length = strcspn(words, " \t\n");
    snprintf(own, sizeof own, "%.*s", (int)length, words);
    return quern__same_name(own, word);
}

/* The values of a final "output", without the previous value, which comes first in `values`. */
static int set_outputs(naming *n, const int *values, int count)
{
    if (count < 2)
        return quern__fail(&n->b->error, QUERN_INVALID, "output",
                           "needs values, such as: output @A @B");
    for (int i = 1; i < count && n->n_out < QUERN__MAX_IO; i++)
        n->out[n->n_out++] = values[i];
    return QUERN_OK;
}

/* As in Keras, a layer that takes a list of inputs needs more than the previous value. */
static int check_joined(naming *n, const char *words, int count)
{
    char own[48];
    quern_error none = { 0 };
    snprintf(own, sizeof own, "%.*s", (int)strcspn(words, " \t\n"), words);
    const quern__class *c = count == 1 ? quern__class_find(QUERN__LAYER, own, &none) : NULL;
    if (!c || !c->list || c->registered || !c->module)
        return QUERN_OK;
    int status = quern__fail(&n->b->error, QUERN_INVALID, NULL,
                             "'%s' merges several values, but it received 1", own);
    quern__hint(&n->b->error, "name a value and add it: 'dense 8 as a | dense 8 | %s @a'", own);
    return status;
}

/* Parses one layer between bars. */
static int take_piece(naming *n, char *words)
{
    int values[QUERN__MAX_ARGUMENTS] = { n->value }, count;
    char name[48];
    take_name(words, name, sizeof name);
    words += strspn(words, " \t\n");
    if (!words[strspn(words, " \t\n")])
        return quern__fail(&n->b->error, QUERN_INVALID, NULL, "a layer is missing here");
    bool input =
        n->b->n == 0 || first_word_is(words, "input") || first_word_is(words, "InputLayer");
    count = take_values(n, words, values, 1);
    n->plain = n->plain && !*name && count == 1 && !(input && n->n_in);
    if (count < 0)
        return -1;
    if (input && isalpha((unsigned char)*words) && !first_word_is(words, "input") &&
        !first_word_is(words, "InputLayer")) {
        quern__fail(&n->b->error, QUERN_INVALID, NULL,
                    "the pipeline starts with '%.*s', expected an input",
                    (int)strcspn(words, " \t\n"), words);
        quern__hint(&n->b->error, "add the shape of a record: 'input 4 | %.60s | ...'", words);
        return -1;
    }
    /* an input, several outputs, a value to continue from, or a layer */
    if (input) {
        n->value = quern_input(n->b, n->b->n == 0 && !first_word_is(words, "input")
                                         ? words
                                         : words + strcspn(words, " \t\n"));
        if (n->value >= 0 && n->n_in < QUERN__MAX_IO)
            n->in[n->n_in++] = n->value;
    } else if (first_word_is(words, "output"))
        return set_outputs(n, values, count);
    else if (!words[strspn(words, " \t\n")] && count == 2)
        n->value = values[1];
    else
        n->value =
            check_joined(n, words, count) < 0 ? -1 : quern_apply_n(n->b, words, values, count);
    /* store the name of the value */
    for (int i = 0; i < n->n_names && *name; i++)
        if (!strcmp(n->names[i], name))
            return quern__fail(&n->b->error, QUERN_INVALID, NULL, "two values are called '%s'",
                               name);
    if (*name && n->value >= 0) {
        if (n->n_names == most_names)
            return quern__fail(&n->b->error, QUERN_INVALID, name, "more than %d names", most_names);
        snprintf(n->names[n->n_names], sizeof *n->names, "%s", name);
        n->values[n->n_names++] = n->value;
    }
    return n->value;
}

quern_model *quern_model_from_spec(const char *pipeline, uint64_t seed, quern_error *err)
{
    QUERN__ENTER(err, NULL, "pipeline", pipeline);
    naming n = { .b = quern_blueprint_new(seed), .value = -1, .plain = true };
    char words[most_words];
    if (!n.b) {
        quern__fail_memory(err, sizeof *n.b);
        return NULL;
    }
    if (!pipeline[strspn(pipeline, " \t\n")])
        quern__fail(&n.b->error, QUERN_INVALID, "pipeline",
                    "is empty; start with an input, as in 'input 784 | dense 10'");
    for (const char *p = pipeline; !n.b->error.code; p++) {
        size_t length = strcspn(p, "|");
        if (length >= sizeof words) {
            quern__fail(&n.b->error, QUERN_INVALID, "pipeline",
                        "the text of a layer is longer than %d characters", most_words - 1);
            break;
        }
        snprintf(words, sizeof words, "%.*s", (int)length, p);
        int before = n.b->n;
        if (take_piece(&n, words) < 0)
            say_place(&n.b->error, before + 1, (int)(p - pipeline) + 1);
        p += length;
        if (!*p)
            break;
    }
    bool several = n.n_out > 0;
    if (!n.b->error.code && !several && n.value >= 0 &&
        quern__producer(n.b, n.value)->n_in == 0) { /* Keras's Sequential does not support it */
        quern__fail(&n.b->error, QUERN_INVALID, "pipeline",
                    "ends with an input; a layer must follow");
        quern__hint(
            &n.b->error,
            "write 'input 784 | dense 10', or 'input 4 as x | output @x' to return the input");
    }
    quern_model *m =
        quern_model_new(n.b, n.in, n.n_in, several ? n.out : &n.value, several ? n.n_out : 1, err);
    if (m)
        m->sequential = n.plain && !several;
    return m;
}
