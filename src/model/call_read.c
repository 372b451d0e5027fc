/* call_read: one layer call in a file: {"args": [...], "kwargs": {...}}, as Keras serialises it
 * (keras.src.ops.node). Values are assigned to the call arguments of the row, constants become
 * options of the call, and anything else is an error.
 *
 * A value in a file is an object of class __keras_tensor__ with keras_history: [layer, call,
 * output]. quern__find_value turns it into an index of the blueprint. A value of a later call does
 * not exist yet; then `early` is set, and config_read tries again. */
#include "model_struct.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int quern__find_value(const quern_blueprint *b, json_t *history)
{
    const char *name = json_string_value(json_array_get(history, 0));
    json_int_t call = json_integer_value(json_array_get(history, 1)),
               output = json_integer_value(json_array_get(history, 2));
    if (name)
        for (int i = 0; i < b->n; i++)
            if (!strcmp(b->nodes[i].layer->name, name) && b->nodes[i].call == call)
                return output >= 0 && output < b->nodes[i].n_out ? b->nodes[i].first + (int)output
                                                                 : -1;
    return -1;
}

/* Compares two keys for qsort. */
static int by_key(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int quern__sorted_keys(json_t *object, const char **keys, int most)
{
    const char *key;
    json_t *v;
    int n = 0;
    if (json_object_size(object) > (size_t)most)
        return -1;
    json_object_foreach(object, key, v) keys[n++] = key;
    qsort(keys, (size_t)n, sizeof *keys, by_key);
    return n;
}

/* Collects all values in the JSON of one argument, in Keras's order. `others` counts elements that
 * are neither values nor null. */
static void collect(const quern_blueprint *b, json_t *given, int argument, quern__inbound *r,
                    int *others)
{
    const char *names[QUERN__MAX_ARGUMENTS];
    json_t *item;
    size_t k;
    if (quern__is_class(given, "__keras_tensor__")) {
        int value = quern__find_value(
            b, json_object_get(json_object_get(given, "config"), "keras_history"));
        r->early = r->early || value < 0;
        if (r->n < QUERN__MAX_ARGUMENTS) {
            r->values[r->n] = value;
            r->arguments[r->n] = argument;
        }
        r->n++;
    } else if (json_is_array(given)) {
        json_array_foreach(given, k, item) collect(b, item, argument, r, others);
    } else if (json_is_object(given)) {
        int n = quern__sorted_keys(given, names, QUERN__MAX_ARGUMENTS);
        *others += n < 0;
        for (int i = 0; i < n; i++)
            collect(b, json_object_get(given, names[i]), argument, r, others);
    } else
        *others += !json_is_null(given);
}

/* The index of a call argument by name; layers with one argument accept all its names. -1:
 * unknown. */
static int argument_named(const quern__class *c, const char *name)
{
    static const char *const single[] = { "inputs", "x", "data", "sequences", "sequence" };
    for (int i = 0; c->call_args && c->call_args[i].name; i++)
        if (!strcmp(c->call_args[i].name, name))
            return i;
    for (int i = 0; c->call_args && c->call_args[i].name; i++)
        if (!strncmp(c->call_args[i].name, "**", 2)) /* keywords of any name */
            return i;
    for (size_t i = 0; !c->call_args && i < sizeof single / sizeof *single; i++)
        if (!strcmp(single[i], name))
            return 0;
    return -1;
}

/* Arguments without effect: the run decides whether a call is a training call. */
static bool is_passed_over(const char *name, json_t *given, int others)
{
    return !others || (!strcmp(name, "training") && json_is_boolean(given));
}

/* Whether the row has a call flag of this name. */
static bool is_told(const quern__class *c, const char *name)
{
    return quern__is_field(c->call_flags, name);
}

/* Whether an argument is Python's *args; **kwargs are keywords. */
static bool is_variadic(const char *name) { return name[0] == '*' && name[1] != '*'; }

/* Whether the row takes a constant for an argument: of Python's *args, an array, which becomes an
 * option by its place; of another list, none. */
static bool takes_constant(const quern__class *c, int argument, json_t *given)
{
    if (c->group != QUERN__OPERATION || argument < 0)
        return false;
    bool array = quern__is_class(given, "__numpy__") || quern__is_class(given, "__tensor__");
    return !c->call_args[argument].many || (is_variadic(c->call_args[argument].name) && array);
}

/* Reads one argument: values, a constant for an operation, or a flag that the row has. */
static int read_argument(const quern_blueprint *b, const quern__class *c, int argument,
                         const char *name, json_t *given, quern__inbound *r, const char *where,
                         quern_error *err)
{
    int before = r->n, others = 0;
    collect(b, given, argument < 0 ? 0 : argument, r, &others);
    bool values = r->n > before, operation = takes_constant(c, argument, given);
    if (!values && (is_told(c, name) || (operation && !json_is_null(given)))) {
        json_object_set(r->options, name, given);
        return QUERN_OK;
    }
    if (values && argument >= 0 && r->n - before > 1 && c->call_args &&
        !c->call_args[argument].many)
        return quern__fail(err, QUERN_UNSUPPORTED, where,
                           "%d values for the call argument '%.60s', expected 1", r->n - before,
                           name);
    if (values ? argument >= 0 && !others : is_passed_over(name, given, others))
        return QUERN_OK;
    if (values && argument >= 0)
        return quern__fail(err, QUERN_UNSUPPORTED, where,
                           "the call argument '%.60s' mixes values and constants", name);
    return quern__fail(err, QUERN_UNSUPPORTED, where,
                       "the call argument '%.60s' is not in this version", name);
}

/* Sorts values by the arguments of the row; the order within an argument stays. */
static void sort_values(quern__inbound *r)
{
    for (int i = 1; i < r->n; i++)
        for (int k = i; k > 0 && r->arguments[k - 1] > r->arguments[k]; k--) {
            int value = r->values[k], argument = r->arguments[k];
            r->values[k] = r->values[k - 1];
            r->arguments[k] = r->arguments[k - 1];
            r->values[k - 1] = value;
            r->arguments[k - 1] = argument;
        }
}

/* Checks that a node has no members other than these two. */
static int check_members(json_t *node, const char *where, quern_error *err)
{
    const char *name;
    json_t *v;
    json_object_foreach(
        node, name, v) if (strcmp(name, "args") &&
                           strcmp(name, "kwargs")) return quern__fail(err, QUERN_UNSUPPORTED, where,
                                                                      "the call has '%.60s', which "
                                                                      "is not in this version",
                                                                      name);
    return QUERN_OK;
}

int quern__inbound_read(const quern_blueprint *b, const quern__class *c, json_t *node,
                        quern__inbound *r, const char *where, quern_error *err)
{
    json_t *item, *kwargs = json_object_get(node, "kwargs");
    const char *names[QUERN__MAX_ARGUMENTS];
    int n_takes = c->call_args ? 0 : 1, n = quern__sorted_keys(kwargs, names, QUERN__MAX_ARGUMENTS),
        status;
    size_t k;
    while (c->call_args && c->call_args[n_takes].name)
        n_takes++;
    *r = (quern__inbound){ .options = json_object() };
    status = check_members(node, where, err);
    /* positional arguments; a last one that starts with '*' takes the rest */
    json_array_foreach(json_object_get(node, "args"), k, item)
    {
        char place[32];
        int last = n_takes - 1;
        bool variadic = c->call_args && last >= 0 && is_variadic(c->call_args[last].name);
        int argument = (int)k < n_takes ? (int)k : variadic ? last : -1;
        snprintf(place, sizeof place, "%zu", k + 1);
        bool by_place = argument < 0 || (c->call_args && is_variadic(c->call_args[argument].name));
        const char *name = by_place ? place : c->call_args ? c->call_args[argument].name : "inputs";
        if (status >= 0)
            status = read_argument(b, c, argument, name, item, r, where, err);
    }
    /* keyword arguments, in sorted order */
    for (int i = 0; i < n && status >= 0; i++) {
        int argument = argument_named(c, names[i]);
        r->keywords |= c->call_args && argument >= 0 && argument < 32 ? 1u << argument : 0;
        status = read_argument(b, c, argument, names[i], json_object_get(kwargs, names[i]), r,
                               where, err);
    }
    if (status >= 0 && (r->n > QUERN__MAX_ARGUMENTS || n < 0))
        status =
            quern__fail(err, QUERN_UNSUPPORTED, where, "more than %d inputs", QUERN__MAX_ARGUMENTS);
    if (status >= 0)
        sort_values(r);
    return status;
}
