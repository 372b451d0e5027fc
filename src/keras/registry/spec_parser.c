/* spec_parser: parses spec strings: "dense 128 relu kernel_regularizer=l2(0.01)".
 *
 * Grammar: spec = name {value | name '=' value};  value = number | number 'x' number … | '(' value
 * {',' value} ')' | quoted text | name ['(' arguments ')'].
 *
 * A word without '=' is an activation where the class has one and the word names one, otherwise the
 * next argument in Keras's order. */
#include "base/json.h"
#include "keras/keras.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct reader {
    const char *text, *at;
    quern_error *err;
    int depth;
} reader;

static json_t *fail(reader *r, const char *what)
{
    quern__fail(r->err, QUERN_INVALID, NULL, "at character %d of '%s': %s",
                (int)(r->at - r->text) + 1, r->text, what);
    return NULL;
}

static void blanks(reader *r)
{
    while (isspace((unsigned char)*r->at))
        r->at++;
}

static json_t *value(reader *r);

/* "3x3", "1/255", "1e-3", "true", "none", or a name */
static json_t *atom(const char *word)
{
    double number;
    if (quern__parse_number(word, &number)) {
        char *behind;
        int before = errno;
        errno = 0;
        long long whole = strtoll(word, &behind, 10);
        bool fits = !*behind && !errno;
        errno = before;
        return !fits ? json_real(number) : json_integer(whole);
    }
    if (isdigit((unsigned char)*word) && strchr(word, 'x')) {
        json_t *tuple = json_array();
        char *end;
        for (const char *p = word;; p = end + 1) {
            json_array_append_new(tuple, json_integer(strtoll(p, &end, 10)));
            if (end == p || (*end && *end != 'x')) {
                json_decref(tuple);
                return json_string(word);
            }
            if (!*end)
                return tuple;
        }
    }
    if (!strcmp(word, "true") || !strcmp(word, "True"))
        return json_true();
    if (!strcmp(word, "false") || !strcmp(word, "False"))
        return json_false();
    return !strcmp(word, "none") || !strcmp(word, "None") || !strcmp(word, "null")
               ? json_null()
               : json_string(word);
}

/* Sets an argument; fails and returns false when the argument is set already. */
static bool set_once(reader *r, json_t *given, const char *key, json_t *v)
{
    if (!json_object_get(given, key))
        return json_object_set(given, key, v) == 0;
    quern__fail(r->err, QUERN_INVALID, NULL, "'%s' is given twice in '%s'", key, r->text);
    return false;
}

/* Parses items up to ')': positional values into `list`, name=value into `named`. */
static bool items(reader *r, json_t *list, json_t *named)
{
    for (blanks(r); *r->at != ')'; blanks(r)) {
        const char *start = r->at;
        size_t n = strspn(r->at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789");
        char key[64] = "";
        if (n && n < sizeof key && r->at[n] == '=' && named) {
            memcpy(key, start, n);
            key[n] = 0;
            r->at += n + 1;
        }
        json_t *v = value(r);
        if (!v)
            return false;
        bool ok = *key ? set_once(r, named, key, v) : json_array_append(list, v) == 0;
        json_decref(v);
        if (!ok)
            return false;
        blanks(r);
        if (*r->at == ',')
            r->at++;
        else if (*r->at != ')')
            return fail(r, "expected ',' or ')'") != NULL;
    }
    r->at++;
    return true;
}

/* Parses a value: a tuple, a quoted text, an object with arguments, or a word. */
static json_t *value(reader *r)
{
    if (++r->depth > 8)
        return fail(r, "too many parentheses");
    blanks(r);
    json_t *out = NULL;
    if (*r->at == '(' || *r->at == '[') {
        if (*r->at == '[')
            return fail(r, "use parentheses for a tuple");
        r->at++;
        out = json_array();
        if (!items(r, out, NULL)) {
            json_decref(out);
            out = NULL;
        }
    } else {
        char word[256], quote = *r->at == '"' || *r->at == '\'' ? *r->at : 0, end[2] = { quote, 0 };
        size_t n = quote ? strcspn(r->at + 1, end) : strcspn(r->at, " \t,()=");
        if ((!n && !quote) || n >= sizeof word || (quote && r->at[n + 1] != quote))
            return fail(r, quote ? "missing closing quote" : "expected a value");
        memcpy(word, r->at + (quote != 0), n);
        word[n] = 0;
        r->at += n + 2 * (quote != 0);
        if (quote) {
            r->depth--;
            return json_string(word);
        }
        if (*r->at == '(') {
            r->at++;
            json_t *list = json_array(), *named = json_object();
            if (items(r, list, named))
                out =
                    json_pack("{s:s, s:O, s:O}", "class_name", word, "config", named, "args", list);
            json_decref(list);
            json_decref(named);
        } else
            out = atom(word);
    }
    r->depth--;
    return out;
}

/* Assigns a positional argument to the next config key. */
static bool assign_next(const quern__class *c, json_t *config, int *next, json_t *v,
                        quern_error *err)
{
    while (c->fields && c->fields[*next].name && json_object_get(config, c->fields[*next].name))
        (*next)++;
    if (!c->fields || !c->fields[*next].name) {
        char *text = quern__json_text(v, 0);
        quern__fail(err, QUERN_INVALID, c->name, "one argument too many: %s", text ? text : "?");
        free(text);
        return false;
    }
    json_object_set(config, c->fields[(*next)++].name, v);
    return true;
}

/* Names the positional arguments of an object ("l2(0.01)"). */
static bool name_object(json_t *config, const char *key, int group, quern_error *err)
{
    json_t *v = json_object_get(config, key), *args = json_object_get(v, "args"), *a;
    int next = 0;
    size_t k;
    if (!args)
        return true;
    if (group < 0)
        return json_object_del(v, "args") == 0;
    const quern__class *inner =
        quern__class_find((quern__group)group, quern__config_text(v, "class_name"), err);
    if (!inner)
        return false;
    json_array_foreach(args, k, a) if (!assign_next(inner, json_object_get(v, "config"), &next, a,
                                                    err)) return false;
    json_t *full = quern__config(inner, json_object_get(v, "config"), true, err);
    if (!full)
        return false;
    json_object_set_new(config, key, quern__serialize(inner, full));
    json_decref(full);
    return true;
}

static bool name_arguments(const quern__class *c, json_t *config, quern_error *err)
{
    for (int i = 0; c->fields && c->fields[i].name; i++)
        if (!name_object(config, c->fields[i].name, quern__field_group(&c->fields[i]), err))
            return false;
    return name_object(config, "activity_regularizer", QUERN__REGULARIZER, err);
}

static bool has_field(const quern__class *c, const char *name)
{
    for (int i = 0; c->fields && c->fields[i].name; i++)
        if (!strcmp(c->fields[i].name, name))
            return true;
    return false;
}

static bool is_told(const quern__class *c, const char *name)
{
    for (int i = 0; c->call_flags && c->call_flags[i].name; i++)
        if (!strcmp(c->call_flags[i].name, name))
            return true;
    return false;
}

/* Words with a fixed meaning: "same", "valid" and "causal" (padding, or a causal mask), "sequences"
 * (return_sequences). */
static bool bare_word(const quern__class *c, json_t *given, const char *word)
{
    bool causal = word && !strcmp(word, "causal");
    if (!word)
        return false;
    if ((causal || !strcmp(word, "same") || !strcmp(word, "valid")) && has_field(c, "padding"))
        return json_object_set_new(given, "padding", json_string(word)) == 0;
    if (causal && is_told(c, "use_causal_mask"))
        return json_object_set_new(given, "use_causal_mask", json_true()) == 0;
    if (!strcmp(word, "sequences") && has_field(c, "return_sequences"))
        return json_object_set_new(given, "return_sequences", json_true()) == 0;
    return false;
}

/* Parses the words after the class name. */
static bool arguments(reader *r, const quern__class *c, json_t *given)
{
    int next = 0;
    json_t *shape = quern__same_name(c->name, "InputLayer") ? json_array() : NULL;
    for (blanks(r); *r->at; blanks(r)) {
        size_t n = strspn(r->at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789");
        char key[64] = "";
        if (n && n < sizeof key && r->at[n] == '=') {
            memcpy(key, r->at, n);
            key[n] = 0;
            r->at += n + 1;
        }
        json_t *v = value(r);
        const char *word = json_string_value(v);
        bool ok = v != NULL;
        if (ok && *key)
            ok = set_once(r, given, key, v);
        else if (ok && shape)
            json_array_append(shape, v);
        else if (ok && word && has_field(c, "activation") &&
                 !json_object_get(given, "activation") && quern__is_activation(word))
            json_object_set(given, "activation", v);
        else if (ok && !bare_word(c, given, word))
            ok = assign_next(c, given, &next, v, r->err);
        json_decref(v);
        if (!ok) {
            json_decref(shape);
            return false;
        }
    }
    if (shape)
        json_object_set_new(given, "shape", shape);
    return true;
}

/* Moves the call flags from the arguments to an object of their own. Returns new; NULL on failure.
 */
static json_t *told(const quern__class *c, json_t *given, quern_error *err)
{
    json_t *call = json_object();
    for (int i = 0; c->call_flags && c->call_flags[i].name; i++) {
        json_t *v = json_object_get(given, c->call_flags[i].name);
        if (v && !json_is_boolean(v)) {
            quern__fail(err, QUERN_INVALID, c->name, "%s must be true or false",
                        c->call_flags[i].name);
            json_decref(call);
            return NULL;
        }
        if (v)
            json_object_set(call, c->call_flags[i].name, v);
        json_object_del(given, c->call_flags[i].name);
    }
    return call;
}

const quern__class *quern__parse_spec(quern__group group, const char *text, json_t **config,
                                      quern_error *err)
{
    return quern__parse_spec_among(quern__classes(group), quern__group_name(group), text, config,
                                   err);
}

const quern__class *quern__parse_spec_among(const quern__class *const *rows, const char *what,
                                            const char *text, json_t **config, quern_error *err)
{
    bool layer = rows == quern__classes(QUERN__LAYER);
    reader r = { .text = text, .at = text, .err = err };
    char name[96];
    blanks(&r);
    size_t n = strcspn(r.at, " \t");
    if (!n || n >= sizeof name) {
        fail(&r, "expected a name");
        return NULL;
    }
    memcpy(name, r.at, n);
    name[n] = 0;
    r.at += n;
    const quern__class *c = quern__class_among(
        rows, what, layer && quern__same_name(name, "input") ? "InputLayer" : name, err);
    json_t *given = json_object(), *call = NULL;
    *config = NULL;
    if (c && arguments(&r, c, given) && name_arguments(c, given, err) &&
        (call = told(c, given, err)))
        *config = quern__config(c, given, true, err);
    if (*config && json_object_size(call))
        json_object_set(*config, "call", call);
    json_decref(call);
    json_decref(given);
    if (*config &&
        !quern__memory_short()) /* without memory, a missing value would become a default */
        return c;
    json_decref(*config);
    *config = NULL;
    quern__fail(err, QUERN_NOMEM, what, "out of memory");
    return NULL;
}
