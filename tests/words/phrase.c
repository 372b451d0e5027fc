/* A class as a spec string, as a pipeline, --optimizer or --loss takes it. The printed string is
 * read again, and must give the defaults of the row. */
#include "words.h"

#include <ctype.h>
#include <string.h>

enum { width = 110 };

/* Its shape follows the word. */
static bool is_input(const quern__class *c) { return !strcmp(c->name, "InputLayer"); }

void words_word(const quern__class *c, char *out, size_t size)
{
    quern__snake_case(is_input(c) ? "Input" : c->name, out, size);
}

/* Whether a text needs quotes to be read as one. */
static bool quoted(const char *text)
{
    for (const char *p = text; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("_.+-[]", *p))
            return true;
    return !*text || isdigit((unsigned char)*text) || *text == '[' || *text == '-';
}

void words_value(quern__text *out, json_t *v)
{
    json_t *inner;
    size_t k;
    if (json_is_array(v)) {
        quern__text_add(out, "(");
        json_array_foreach(v, k, inner)
        {
            quern__text_add(out, k ? "," : "");
            words_value(out, inner);
        }
        quern__text_add(out, ")");
    } else if (json_is_string(v)) {
        const char *text = json_string_value(v), *quote = !quoted(text)        ? ""
                                                          : strchr(text, '\'') ? "\""
                                                                               : "'";
        quern__text_add(out, "%s%s%s", quote, text, quote);
    } else if (json_is_real(v))
        quern__text_add(out, "%g", json_real_value(v));
    else if (json_is_integer(v))
        quern__text_add(out, "%lld", (long long)json_integer_value(v));
    else
        quern__text_add(out, "%s", json_is_true(v) ? "true" : json_is_false(v) ? "false" : "none");
}

/* A valid value of an argument without a default. */
static const char *sample(const quern__field *f)
{
    return f->kind == QUERN__F_TEXT          ? "word"
           : f->kind == QUERN__F_LAYER       ? "dense(2)"
           : f->kind == QUERN__F_OPTIMIZER   ? "adam"
           : f->kind == QUERN__F_INITIALIZER ? "zeros"
           : f->kind == QUERN__F_ACTIVATION  ? "relu"
                                             : "1";
}

/* Reads the spec string again and compares. */
static void check(const quern__class *c, const char *text)
{
    quern_error err = { 0 };
    json_t *config = NULL;
    if (quern__parse_spec(c->group, text, &config, &err) != c)
        words_mistake("%s: '%s' is not read: %s: %s", c->name, text, err.where, err.text);
    for (int i = 0; config && c->fields && c->fields[i].name; i++) {
        if (!c->fields[i].fallback || (is_input(c) && !i))
            continue;
        json_t *want = json_loads(c->fields[i].fallback, JSON_DECODE_ANY, NULL),
               *got = json_object_get(config, c->fields[i].name);
        bool same = json_equal(want, got) || (json_is_number(want) && json_is_number(got) &&
                                              json_number_value(want) == json_number_value(got));
        if (!same)
            words_mistake("%s: what is written of %s is read as another value", c->name,
                          c->fields[i].name);
        json_decref(want);
    }
    json_decref(config);
}

void words_phrase(quern__text *out, const quern__class *c)
{
    char word[64];
    quern__text tried = { 0 };
    words_word(c, word, sizeof word);
    quern__text_add(out, "    %s", word);
    quern__text_add(&tried, "%s", word);
    size_t line = 4 + strlen(word);
    for (int i = 0; c->fields && c->fields[i].name; i++) {
        const quern__field *f = &c->fields[i];
        quern__text one = { 0 };
        json_t *fallback = f->fallback ? json_loads(f->fallback, JSON_DECODE_ANY, NULL) : NULL;
        if (is_input(c) && !i) {
            quern__text_add(&one, "SHAPE");
            quern__text_add(&tried, " 28 28 1");
        } else if (f->fallback) {
            quern__text_add(&one, "%s=", f->name);
            words_value(&one, fallback);
            quern__text_add(&tried, " %s", one.data);
        } else {
            quern__text_add(&one, "%s", f->name);
            for (char *p = one.data; *p; p++)
                *p = (char)toupper((unsigned char)*p);
            quern__text_add(&tried, " %s=%s", f->name, sample(f));
        }
        bool turn = line + 1 + one.length > width;
        quern__text_add(out, turn ? "\n%*s%s" : " %*s%s", turn ? 8 : 0, "", one.data);
        line = turn ? 8 + one.length : line + 1 + one.length;
        quern__text_free(&one);
        json_decref(fallback);
    }
    quern__text_add(out, "\n");
    check(c, tried.data);
    quern__text_free(&tried);
}

json_t *words_common(quern__group group)
{
    for (const quern__class *const *row = quern__classes(group); *row; row++) {
        quern_error err = { 0 };
        json_t *config = quern__config(*row, NULL, true, &err);
        for (int i = 0; config && (*row)->fields && (*row)->fields[i].name; i++)
            json_object_del(config, (*row)->fields[i].name);
        if (config)
            return config;
    }
    return json_object();
}
