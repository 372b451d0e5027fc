/* convert: writes a model, or its weights only, in another file format; optionally with weights
 * from another file. */
#include "commands.h"

#include <string.h>

static bool ends_with(const char *path, const char *end)
{
    size_t n = strlen(path), k = strlen(end);
    return n >= k && !strcmp(path + n - k, end);
}

/* Whether the file will contain a whole model; -1: the file name does not say. */
static int holds_model(const char *path)
{
    if (ends_with(path, ".weights.h5") || ends_with(path, ".safetensors") ||
        ends_with(path, ".npz"))
        return 0;
    return ends_with(path, ".keras") || ends_with(path, ".h5") || ends_with(path, ".hdf5") ? 1 : -1;
}

int cli_convert(const arguments *a)
{
    quern_error err = { 0 };
    const char *weights = cli_option(a, "weights"), *map = cli_option(a, "map");
    if (a->n != 2)
        return cli_wrong("convert", "needs IN and OUT");
    const char *out = a->words[1];
    int whole = holds_model(out), code;
    if (ends_with(out, ".onnx"))
        return cli_wrong(out, "is not supported in this version");
    if (whole < 0)
        return cli_wrong(out,
                         "its name must end in .keras, .h5, .weights.h5, .safetensors or .npz");
    if (map && !weights && whole)
        return cli_wrong("--map", "needs --weights, or an OUT that ends in .safetensors or .npz");
    if (holds_model(a->words[0]) == 0)
        return cli_wrong(a->words[0],
                         "has weights only: use a model as IN, and this file with --weights");
    quern_model *m = cli_open(a, 2, &err, &code);
    if (!m)
        return code;
    int status = weights ? quern_model_load_weights(m, weights, map, &err) : QUERN_OK;
    if (status >= 0) /* the axis map of the weights that were read, if any */
        status = whole ? quern_model_save(m, out, &err)
                       : quern_model_save_weights(m, out, weights ? NULL : map, &err);
    quern_model_free(m);
    return status < 0 ? cli_fail(status, &err) : 0;
}
