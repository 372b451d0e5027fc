/* Reads and writes the schema as JSON, the form in model files and prepared files
 * (docs/schema.md). Input is hostile until all of it is consistent; an unknown key is an error. */
#include "base/json.h"
#include "schema.h"

#include <stdlib.h>
#include <string.h>

static const char *const kinds[] = { "number", "text", "class" };
enum { version_now = 1, n_kinds = 3 };

/* ---- writing ---- */

static json_t *list_of(const quern__names *names)
{
    json_t *list = json_array();
    for (int i = 0; i < names->n; i++)
        if (json_array_append_new(list, json_string(names->list[i])) < 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

static json_t *write_column(const quern__schema_column *c, bool target)
{
    json_t *one = json_pack("{s:s, s:s}", "name", c->name, "kind", kinds[c->kind]);
    int failed = one ? 0 : -1;
    if (one && target)
        failed |= json_object_set_new(one, "output", json_integer(c->output));
    if (one && c->kind == QUERN__COLUMN_CLASS && c->fill_class)
        failed |= json_object_set_new(one, "fill", json_string(c->fill_class));
    else if (one && c->kind == QUERN__COLUMN_NUMBER && c->fills)
        failed |= json_object_set_new(one, "fill", json_real(c->fill));
    if (one && c->kind == QUERN__COLUMN_CLASS)
        failed |= json_object_set_new(one, "classes", list_of(&c->classes));
    if (!failed)
        return one;
    json_decref(one);
    return NULL;
}

json_t *quern__schema_write(const quern_schema *s)
{
    char separator[2] = { s->separator, 0 }, decimal[2] = { s->decimal, 0 };
    json_t *sides[2] = { json_array(), json_array() };
    int failed = 0;
    for (int side = 0; side < 2; side++)
        for (int i = 0; i < (side ? s->n_targets : s->n_features); i++)
            failed |= json_array_append_new(sides[side],
                                            write_column(quern__schema_at(s, side, i), side));
    json_t *root = json_pack("{s:i, s:s, s:s, s:b, s:o, s:o}", "version", version_now, "separator",
                             separator, "decimal", decimal, "header", !s->no_header, "features",
                             sides[0], "targets", sides[1]);
    if (root && *s->encoding)
        failed |= json_object_set_new(root, "encoding", json_string(s->encoding));
    if (root && s->missing_given)
        failed |= json_object_set_new(root, "missing", list_of(&s->missing));
    if (root && !failed)
        return root;
    json_decref(root);
    return NULL;
}

char *quern_schema_json(const quern_schema *s, quern_error *err)
{
    QUERN__ENTER(err, NULL, "schema", s);
    json_t *root = quern__schema_write(s);
    char *text = quern__json_text(root, JSON_INDENT(1));
    json_decref(root);
    if (!text)
        quern__fail(err, QUERN_NOMEM, "schema",
                    "cannot be written as JSON: out of memory, or a name is not UTF-8 text");
    return text;
}

/* ---- reading ---- */

static int schema_error(const char *what, quern_error *err)
{
    return quern__fail(err, QUERN_FORMAT, "schema", "%s", what);
}

/* Checks that an object has only the given keys (NULL-terminated). */
static bool known(json_t *object, const char *const *keys, quern_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        int k = 0;
        while (keys[k] && strcmp(keys[k], key))
            k++;
        if (!keys[k]) {
            quern__fail(err, QUERN_FORMAT, "schema", "unknown key '%.40s'", key);
            return false;
        }
    }
    return true;
}

static int by_name(const void *a, const void *b, void *list)
{
    char *const *names = list;
    return strcmp(names[*(const int *)a], names[*(const int *)b]);
}

/* Reads a list of distinct names and sorts an index of it. */
static int read_names(json_t *list, quern__names *out, quern_error *err)
{
    size_t n = json_array_size(list), i;
    json_t *one;
    if (!json_is_array(list) || n > QUERN__MOST_CLASSES)
        return schema_error("a list of names is not an array, or is too long", err);
    out->room = (int)n + 1;
    out->list = quern__zalloc(n + 1, sizeof *out->list);
    out->sorted = quern__zalloc(n + 1, sizeof *out->sorted);
    if (!out->list || !out->sorted)
        return quern__fail_memory(err, n * sizeof *out->list);
    json_array_foreach(list, i, one)
    {
        const char *name = json_string_value(one);
        if (!name || strlen(name) != json_string_length(one) || strlen(name) > QUERN__MOST_NAME)
            return schema_error("a name is not a string, or is too long", err);
        if (!(out->list[i] = quern__strdup(name)))
            return quern__fail_memory(err, strlen(name));
        out->sorted[out->n] = out->n;
        out->n++;
    }
    qsort_r(out->sorted, n, sizeof *out->sorted, by_name, out->list);
    for (int k = 1; k < out->n; k++)
        if (!strcmp(out->list[out->sorted[k - 1]], out->list[out->sorted[k]]))
            return schema_error("a name occurs twice", err);
    return QUERN_OK;
}

/* Reads a feature or target. */
static int read_column(json_t *one, bool target, quern__schema_column *c, quern_error *err)
{
    static const char *const keys[] = { "name", "kind", "output", "fill", "classes", NULL };
    const char *name = json_string_value(json_object_get(one, "name")),
               *kind = json_string_value(json_object_get(one, "kind"));
    json_t *fill = json_object_get(one, "fill"), *output = json_object_get(one, "output");
    if (!json_is_object(one) || !known(one, keys, err))
        return schema_error("a column is not an object", err);
    if (!name || !kind || strlen(name) > QUERN__MOST_NAME)
        return schema_error("a column without name or kind", err);
    for (c->kind = 0; c->kind < n_kinds && strcmp(kinds[c->kind], kind); c->kind++)
        ;
    bool class = c->kind == QUERN__COLUMN_CLASS;
    if (c->kind == n_kinds || class != (json_array_size(json_object_get(one, "classes")) > 0) ||
        c->kind == (target ? QUERN__COLUMN_TEXT : QUERN__COLUMN_CLASS))
        return schema_error("the kind of a column is invalid", err);
    if (fill && (class ? !json_is_string(fill) : !json_is_number(fill)))
        return schema_error("the fill value does not have the column's kind", err);
    if (target != (output != NULL) ||
        (target && (!json_is_integer(output) || json_integer_value(output) < 0 ||
                    json_integer_value(output) > QUERN__MOST_COLUMNS)))
        return schema_error("a target has an invalid output, or a feature has one", err);
    c->output = (int)json_integer_value(output);
    c->fills = fill && !class;
    c->fill = json_number_value(fill);
    c->fill_class = fill && class ? quern__strdup(json_string_value(fill)) : NULL;
    if (!(c->name = quern__strdup(name)) || (fill && class && !c->fill_class))
        return quern__fail_memory(err, strlen(name));
    return class ? read_names(json_object_get(one, "classes"), &c->classes, err) : QUERN_OK;
}

/* Reads a member that is a string of one byte. */
static bool read_byte(json_t *root, const char *key, char *out)
{
    const char *text = json_string_value(json_object_get(root, key));
    *out = text ? *text : 0;
    return text && strlen(text) == 1;
}

/* Reads all members into a schema with columns. */
static int read_all(json_t *root, quern_schema *s, quern_error *err)
{
    const char *encoding = json_string_value(json_object_get(root, "encoding"));
    json_t *header = json_object_get(root, "header");
    int status = QUERN_OK;
    for (int i = 0; i < s->n_features + s->n_targets && status >= 0; i++) {
        bool target = i >= s->n_features;
        json_t *list = json_object_get(root, target ? "targets" : "features");
        status = read_column(json_array_get(list, (size_t)(target ? i - s->n_features : i)), target,
                             &s->columns[i], err);
    }
    for (int i = 0; i < s->n_features + s->n_targets && status >= 0; i++)
        for (int side = 0; side < 2 && status >= 0; side++) {
            int found = quern__schema_find(s, side, s->columns[i].name);
            if (found >= 0 && i != (side ? s->n_features : 0) + found)
                status = schema_error("a column occurs twice", err);
        }
    if (status < 0)
        return status;
    if (!read_byte(root, "separator", &s->separator) || !read_byte(root, "decimal", &s->decimal) ||
        !json_is_boolean(header) || (json_object_get(root, "encoding") && !encoding) ||
        (encoding && strlen(encoding) >= sizeof s->encoding))
        return schema_error("separator, decimal, header or encoding is invalid", err);
    s->no_header = json_is_false(header);
    strcpy(s->encoding, encoding ? encoding : "");
    s->missing_given = json_object_get(root, "missing") != NULL;
    return s->missing_given ? read_names(json_object_get(root, "missing"), &s->missing, err)
                            : QUERN_OK;
}

quern_schema *quern__schema_read(json_t *root, quern_error *err)
{
    static const char *const keys[] = { "version", "separator", "decimal", "header", "encoding",
                                        "missing", "features",  "targets", NULL };
    json_t *features = json_object_get(root, "features"),
           *targets = json_object_get(root, "targets");
    if (json_integer_value(json_object_get(root, "version")) != version_now) {
        quern__fail(err, QUERN_UNSUPPORTED, "schema", "the version is not %d", version_now);
        return NULL;
    }
    if (!known(root, keys, err))
        return NULL;
    if (!json_is_array(features) || !json_is_array(targets) ||
        json_array_size(features) > QUERN__MOST_COLUMNS ||
        json_array_size(targets) > QUERN__MOST_COLUMNS) {
        schema_error("features or targets are missing, or too many", err);
        return NULL;
    }
    quern_schema *s =
        quern__schema_new((int)json_array_size(features), (int)json_array_size(targets), err);
    if (!s || read_all(root, s, err) >= 0)
        return s;
    quern_schema_free(s);
    return NULL;
}

quern_schema *quern_schema_from_json(const char *bytes, size_t size, quern_error *err)
{
    QUERN__ENTER(err, NULL, "bytes", bytes);
    json_t *root = quern__json_read(bytes, size, "schema", NULL, err);
    quern_schema *s = root ? quern__schema_read(root, err) : NULL;
    json_decref(root);
    return s;
}
