/* input_shape: --input-shape, the sizes of axes of inputs that are None. */
#include "commands.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Reads "64" or "224x224x3" as the axes after the batch axis. Returns false if it is something
 * else. */
static bool read_axes(const char *text, size_t n, quern_shape *shape)
{
    const char *end = text + n;
    shape->rank = 1;
    for (;;) {
        char *after;
        if (shape->rank == QUERN_MAX_RANK || text == end || *text < '1' || *text > '9')
            return false;
        errno = 0;
        long long size = strtoll(text, &after, 10);
        if (errno || size < 1 || size > INT32_MAX || after > end)
            return false;
        shape->dims[shape->rank++] = size;
        if (after == end)
            return true;
        if (*after != 'x')
            return false;
        text = after + 1;
    }
}

/* The input that a part names; the next one in order without a name. -1: no such input. */
static int input_of(const quern_model *m, const char *part, size_t name, int next)
{
    if (!name)
        return next < quern_model_inputs(m) ? next : -1;
    for (int i = 0; i < quern_model_inputs(m); i++)
        if (strlen(quern_model_input_name(m, i)) == name &&
            !strncmp(quern_model_input_name(m, i), part, name))
            return i;
    return -1;
}

int cli_input_shape(const arguments *a, quern_model *m, quern_error *err)
{
    const char *given = cli_option(a, "input-shape");
    quern_shape shapes[QUERN_MAX_ARRAYS];
    int next = 0;
    if (!given)
        return 0;
    for (int i = 0; i < quern_model_inputs(m); i++)
        shapes[i] = quern_model_input_shape(m, i);
    for (const char *part = given; *part;) {
        size_t n = strcspn(part, ","), name = 0;
        while (name < n && part[name] != '=')
            name++;
        name = name < n ? name : 0;
        const char *axes = part + name + (name > 0);
        int i = input_of(m, part, name, next++);
        if (i < 0)
            return cli_wrong("--input-shape", "names an input that the model does not have");
        if (!read_axes(axes, n - (size_t)(axes - part), &shapes[i]))
            return cli_wrong("--input-shape", "a shape is 64 or 224x224x3, without the batch axis");
        part += n;
        part += *part == ',';
    }
    return quern_model_set_input_shapes(m, shapes, err) < 0 ? cli_fail(err->code, err) : 0;
}
