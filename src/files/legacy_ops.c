/* legacy_ops: converts TensorFlow functions in functional models of Keras 2 (TFOpLambda,
 * SlicingOpLambda) to operations of keras.ops. A row of the table has the function, the operation,
 * and the new name of each argument. An argument that the row does not have stays in the call, and
 * the reader of the model rejects it by name. */
#include "legacy.h"

#include <stdio.h>
#include <string.h>

/* `args`: TensorFlow's arguments that are operands, the first positional one first, as "tf=keras";
 * `config`: those that are arguments of the operation's class. A first name with a star is a list
 * of tensors. `defaults`: the config where TensorFlow and Keras have different defaults, as JSON. */
static const struct {
    const char *function, *name, *module, *args, *config, *defaults;
} operations[] = {
    { "__operators__.add", "Add", "numpy", "x=x1 y=x2", "" },
    { "math.add", "Add", "numpy", "x=x1 y=x2", "" },
    { "nn.bias_add", "Add", "numpy", "value=x1 bias=x2", "" },
    { "math.subtract", "Subtract", "numpy", "x=x1 y=x2", "" },
    { "math.multiply", "Multiply", "numpy", "x=x1 y=x2", "" },
    { "math.truediv", "TrueDivide", "numpy", "x=x1 y=x2", "" },
    { "math.divide", "TrueDivide", "numpy", "x=x1 y=x2", "" },
    { "math.divide_no_nan", "DivideNoNan", "numpy", "x=x1 y=x2", "" },
    { "math.maximum", "Maximum", "numpy", "x=x1 y=x2", "" },
    { "math.minimum", "Minimum", "numpy", "x=x1 y=x2", "" },
    { "math.pow", "Power", "numpy", "x=x1 y=x2", "" },
    { "math.floormod", "Mod", "numpy", "x=x1 y=x2", "" },
    { "compat.v1.floor_div", "FloorDivide", "numpy", "x=x1 y=x2", "" },
    { "math.squared_difference", "SquaredDifference", "math", "x=x1 y=x2", "" },
    { "math.equal", "Equal", "numpy", "x=x1 y=x2", "" },
    { "math.not_equal", "NotEqual", "numpy", "x=x1 y=x2", "" },
    { "math.greater", "Greater", "numpy", "x=x1 y=x2", "" },
    { "math.greater_equal", "GreaterEqual", "numpy", "x=x1 y=x2", "" },
    { "math.less", "Less", "numpy", "x=x1 y=x2", "" },
    { "math.less_equal", "LessEqual", "numpy", "x=x1 y=x2", "" },
    { "math.logical_and", "LogicalAnd", "numpy", "x=x1 y=x2", "" },
    { "math.logical_or", "LogicalOr", "numpy", "x=x1 y=x2", "" },
    { "math.logical_not", "LogicalNot", "numpy", "x=x", "" },
    { "where", "Where", "numpy", "condition=condition x=x1 y=x2", "" },
    { "math.negative", "Negative", "numpy", "x=x", "" },
    { "math.abs", "Absolute", "numpy", "x=x", "" },
    { "math.sign", "Sign", "numpy", "x=x", "" },
    { "math.square", "Square", "numpy", "x=x", "" },
    { "math.sqrt", "Sqrt", "numpy", "x=x", "" },
    { "math.rsqrt", "Rsqrt", "math", "x=x", "" },
    { "math.reciprocal", "Reciprocal", "numpy", "x=x", "" },
    { "math.exp", "Exp", "numpy", "x=x", "" },
    { "math.log", "Log", "numpy", "x=x", "" },
    { "math.log1p", "Log1p", "numpy", "x=x", "" },
    { "math.expm1", "Expm1", "numpy", "x=x", "" },
    { "math.sin", "Sin", "numpy", "x=x", "" },
    { "math.cos", "Cos", "numpy", "x=x", "" },
    { "math.tanh", "Tanh", "numpy", "x=x", "" },
    { "math.erf", "Erf", "math", "x=x", "" },
    { "math.floor", "Floor", "numpy", "x=x", "" },
    { "math.ceil", "Ceil", "numpy", "x=x", "" },
    { "math.round", "Round", "numpy", "x=x", "" },
    { "math.tan", "Tan", "numpy", "x=x", "" },
    { "math.asin", "Arcsin", "numpy", "x=x", "" },
    { "math.acos", "Arccos", "numpy", "x=x", "" },
    { "math.atan", "Arctan", "numpy", "x=x", "" },
    { "math.atan2", "Arctan2", "numpy", "y=x1 x=x2", "" },
    { "math.sinh", "Sinh", "numpy", "x=x", "" },
    { "math.cosh", "Cosh", "numpy", "x=x", "" },
    { "math.asinh", "Arcsinh", "numpy", "x=x", "" },
    { "math.acosh", "Arccosh", "numpy", "x=x", "" },
    { "math.atanh", "Arctanh", "numpy", "x=x", "" },
    { "math.erfc", "Erfc", "math", "x=x", "" },
    { "math.erfinv", "Erfinv", "math", "x=x", "" },
    { "math.floordiv", "FloorDivide", "numpy", "x=x1 y=x2", "" },
    { "math.mod", "Mod", "numpy", "x=x1 y=x2", "" },
    { "math.logical_xor", "LogicalXor", "numpy", "x=x1 y=x2", "" },
    { "math.is_nan", "Isnan", "numpy", "x=x", "" },
    { "math.is_finite", "Isfinite", "numpy", "x=x", "" },
    { "math.top_k", "TopK", "math", "input=x", "k=k sorted=sorted" },
    { "nn.top_k", "TopK", "math", "input=x", "k=k sorted=sorted" },
    { "math.argmin", "Argmin", "numpy", "input=x", "axis=axis", "{\"axis\": 0}" },
    { "math.cumprod", "Cumprod", "numpy", "x=x", "axis=axis", "{\"axis\": 0}" },
    { "sort", "Sort", "numpy", "values=x", "axis=axis" },
    { "argsort", "Argsort", "numpy", "values=x", "axis=axis" },
    { "nn.gelu", "Gelu", "nn", "features=x", "approximate=approximate",
      "{\"approximate\": false}" },
    { "nn.softsign", "Softsign", "nn", "features=x", "" },
    { "nn.moments", "Moments", "nn", "x=x", "axes=axes keepdims=keepdims" },
    { "nn.space_to_depth", "SpaceToDepth", "nn", "input=x", "block_size=block_size" },
    { "nn.depth_to_space", "DepthToSpace", "nn", "input=x", "block_size=block_size" },
    { "nn.max_pool2d", "MaxPool", "nn", "input=inputs",
      "ksize=pool_size strides=strides padding=padding" },
    { "nn.avg_pool2d", "AveragePool", "nn", "input=inputs",
      "ksize=pool_size strides=strides padding=padding" },
    { "compat.v1.nn.conv2d", "Conv", "nn", "input=inputs filter=kernel",
      "strides=strides padding=padding dilations=dilation_rate" },
    { "math.sigmoid", "Sigmoid", "nn", "x=x", "" },
    { "math.softplus", "Softplus", "nn", "features=x", "" },
    { "nn.relu", "Relu", "nn", "features=x", "" },
    { "nn.relu6", "Relu6", "nn", "features=x", "" },
    { "nn.leaky_relu", "LeakyRelu", "nn", "features=x", "alpha=negative_slope" },
    { "nn.elu", "Elu", "nn", "features=x", "" },
    { "nn.selu", "Selu", "nn", "features=x", "" },
    { "nn.silu", "Silu", "nn", "features=x", "" },
    { "nn.softmax", "Softmax", "nn", "logits=x", "axis=axis" },
    { "nn.log_softmax", "LogSoftmax", "nn", "logits=x", "axis=axis" },
    { "clip_by_value", "Clip", "numpy", "t=x", "clip_value_min=x_min clip_value_max=x_max" },
    { "cast", "Cast", "core", "x=x", "dtype=dtype" },
    { "identity", "Copy", "numpy", "input=x", "" },
    { "stop_gradient", "StopGradient", "core", "input=variable", "" },
    { "zeros_like", "ZerosLike", "numpy", "input=x", "" },
    { "ones_like", "OnesLike", "numpy", "input=x", "" },
    { "math.reduce_mean", "Mean", "numpy", "input_tensor=x", "axis=axis keepdims=keepdims" },
    { "math.reduce_sum", "Sum", "numpy", "input_tensor=x", "axis=axis keepdims=keepdims" },
    { "math.reduce_max", "Max", "numpy", "input_tensor=x", "axis=axis keepdims=keepdims" },
    { "math.reduce_min", "Min", "numpy", "input_tensor=x", "axis=axis keepdims=keepdims" },
    { "math.reduce_prod", "Prod", "numpy", "input_tensor=x", "axis=axis keepdims=keepdims" },
    { "math.reduce_std", "Std", "numpy", "input_tensor=x", "axis=axis keepdims=keepdims" },
    { "math.reduce_variance", "Var", "numpy", "input_tensor=x", "axis=axis keepdims=keepdims" },
    { "math.reduce_any", "Any", "numpy", "input_tensor=x", "axis=axis keepdims=keepdims" },
    { "math.reduce_all", "All", "numpy", "input_tensor=x", "axis=axis keepdims=keepdims" },
    { "math.reduce_logsumexp", "Logsumexp", "math", "input_tensor=x",
      "axis=axis keepdims=keepdims" },
    { "math.count_nonzero", "CountNonzero", "numpy", "input=x", "axis=axis" },
    { "math.argmax", "Argmax", "numpy", "input=x", "axis=axis", "{\"axis\": 0}" },
    { "math.cumsum", "Cumsum", "numpy", "x=x", "axis=axis", "{\"axis\": 0}" },
    { "math.l2_normalize", "Normalize", "nn", "x=x", "axis=axis",
      "{\"epsilon\": 1e-6, \"axis\": null}" },
    { "concat", "Concatenate", "numpy", "*values=xs", "axis=axis" },
    { "stack", "Stack", "numpy", "*values=x", "axis=axis" },
    { "split", "Split", "numpy", "value=x", "num_or_size_splits=indices_or_sections axis=axis" },
    { "unstack", "Unstack", "core", "value=x", "num=num axis=axis" },
    { "reshape", "Reshape", "numpy", "tensor=x", "shape=newshape" },
    { "expand_dims", "ExpandDims", "numpy", "input=x", "axis=axis" },
    { "compat.v1.squeeze", "Squeeze", "numpy", "input=x", "axis=axis" },
    { "compat.v1.transpose", "Transpose", "numpy", "a=x", "perm=axes" },
    { "tile", "Tile", "numpy", "input=x", "multiples=repeats" },
    { "repeat", "Repeat", "numpy", "input=x", "repeats=repeats axis=axis" },
    { "roll", "Roll", "numpy", "input=x", "shift=shift axis=axis" },
    { "reverse", "Flip", "numpy", "tensor=x", "axis=axis" },
    { "compat.v1.pad", "Pad", "numpy", "tensor=x constant_values=constant_values",
      "paddings=pad_width mode=mode" },
    { "compat.v1.gather", "Take", "numpy", "params=x indices=indices", "axis=axis",
      "{\"axis\": 0}" },
    { "one_hot", "OneHot", "nn", "indices=x", "depth=num_classes axis=axis" },
    { "linalg.matmul", "Matmul", "numpy", "a=x1 b=x2", "" },
    { "linalg.trace", "Trace", "numpy", "x=x", "", "{\"axis1\": -2, \"axis2\": -1}" },
    { "linalg.diag_part", "Diagonal", "numpy", "input=x", "k=offset",
      "{\"axis1\": -2, \"axis2\": -1}" },
    { "compat.v1.norm", "Norm", "linalg", "tensor=x", "ord=ord axis=axis keepdims=keepdims" },
    { "norm", "Norm", "linalg", "tensor=x", "ord=ord axis=axis keepdims=keepdims" },
    { "tensordot", "Tensordot", "numpy", "a=x1 b=x2", "axes=axes" },
    { "image.resize", "Resize", "image", "images=images", "size=size method=interpolation" },
    { "__operators__.getitem", "GetItem", "numpy", "tensor=x slice_spec=key", "" },
};

/* ---- calls ---- */

/* Whether v is a tensor [layer, call, output, …] or a constant [_CONSTANT_VALUE, -1, value]. */
static bool is_end(json_t *v)
{
    return json_is_string(json_array_get(v, 0)) && json_is_integer(json_array_get(v, 1)) &&
           json_array_size(v) >= 3;
}

json_t *quern__legacy_operand(json_t *layers, json_t *v)
{
    if (is_end(v) && !strcmp(json_string_value(json_array_get(v, 0)), "_CONSTANT_VALUE"))
        return json_deep_copy(json_array_get(v, 2));
    if (is_end(v))
        return quern__legacy_tensor(layers, v);
    if (!json_is_array(v))
        return json_deep_copy(v);
    json_t *out = json_array(), *item;
    size_t k;
    json_array_foreach(v, k, item) json_array_append_new(out, quern__legacy_operand(layers, item));
    return out;
}

json_t *quern__legacy_arguments(json_t *call)
{
    while (json_is_array(call) && !is_end(call))
        call = json_array_get(call, 0);
    return json_array_get(call, 3);
}

/* Looks up the new name of an argument in `map` ("tf=keras tf=keras"). Returns false when `map`
 * does not have it. name NULL: the first entry. */
static bool mapped(const char *map, const char *name, char *out, size_t size)
{
    for (const char *p = map; *p; p += strcspn(p, " "), p += strspn(p, " ")) {
        size_t n = strcspn(p, "="), whole = strcspn(p, " ");
        bool same = !name || (strlen(name) == n && !strncmp(p, name, n));
        if (same) {
            snprintf(out, size, "%.*s", (int)(whole - n - 1), p + n + 1);
            return true;
        }
    }
    return false;
}

/* slice_spec of a call as the key of GetItem. Returns new. */
static json_t *slices(json_t *spec)
{
    json_t *out = json_array(), *v;
    size_t k;
    json_array_foreach(spec, k, v)
    {
        const char *kind = quern__config_text(v, "class_name");
        if (kind)
            json_array_append_new(out, json_pack("{s:s, s:{}}", "class_name", kind, "config"));
        else if (json_is_object(v))
            json_array_append_new(out,
                                  json_pack("{s:s, s:O}", "class_name", "__slice__", "config", v));
        else
            json_array_append(out, v);
    }
    return out;
}

/* Converts sizes of parts to the indices at which they start. Returns new. */
static json_t *indices_of_sizes(json_t *sizes)
{
    json_t *out = json_array();
    json_int_t at = 0;
    for (size_t k = 0; k + 1 < json_array_size(sizes); k++) {
        at += json_integer_value(json_array_get(sizes, k));
        json_array_append_new(out, json_integer(at));
    }
    return out;
}

static bool is_spatial(const char *name)
{
    return !strcmp(name, "strides") || !strcmp(name, "pool_size") || !strcmp(name, "dilation_rate");
}

/* A value of the config, where Keras has it in another form. Returns new. */
static json_t *config_value(const char *name, json_t *v)
{
    char text[64];
    if (!strcmp(name, "indices_or_sections") && json_is_array(v))
        return indices_of_sizes(v);
    if (!strcmp(name, "ord") && json_is_string(v) && !strcmp(json_string_value(v), "euclidean"))
        return json_null();
    if (json_is_array(v) && json_array_size(v) == 4 && is_spatial(name)) /* (1, h, w, 1) */
        return json_pack("[O,O]", json_array_get(v, 1), json_array_get(v, 2));
    if ((!strcmp(name, "mode") || !strcmp(name, "padding")) && json_is_string(v)) {
        snprintf(text, sizeof text, "%.60s", json_string_value(v));
        for (char *p = text; *p; p++)
            *p = (char)(*p >= 'A' && *p <= 'Z' ? *p + 32 : *p);
        return json_string(text);
    }
    return json_deep_copy(v);
}

/* Whether an argument has no effect with that value. */
static bool is_without_effect(const char *name, json_t *v)
{
    static const char *const whatever[] = { "name", "validate_indices", "conjugate" },
                             *const off[] = { "transpose_a", "transpose_b", "exclusive",
                                              "reverse",     "adjoint_a",   "adjoint_b",
                                              "a_is_sparse", "b_is_sparse" };
    for (size_t i = 0; i < sizeof whatever / sizeof *whatever; i++)
        if (!strcmp(name, whatever[i]))
            return true;
    for (size_t i = 0; i < sizeof off / sizeof *off; i++)
        if (!strcmp(name, off[i]))
            return json_is_false(v);
    return json_is_null(v) || (!strcmp(name, "batch_dims") && json_integer_value(v) == 0) ||
           (!strcmp(name, "data_format") && json_is_string(v) &&
            !strcmp(json_string_value(v), "NHWC"));
}

/* Converts one call to Keras 3; arguments of the class move to the config. Returns new. */
static json_t *call_of(json_t *layers, json_t *call, const char *args, const char *to_config,
                       json_t *config)
{
    char name[64];
    const char *key;
    json_t *kwargs = json_object(), *v;
    bool list = *args == '*';
    args += list;
    mapped(args, NULL, name, sizeof name);
    json_object_set_new(kwargs, name, quern__legacy_operand(layers, call));
    json_object_foreach(quern__legacy_arguments(call), key, v)
    {
        if (mapped(to_config, key, name, sizeof name)) {
            if (!json_is_null(v))
                json_object_set_new(config, name, config_value(name, v));
        } else if (!mapped(args, key, name, sizeof name))
            json_object_set(kwargs, is_without_effect(key, v) ? "" : key, v);
        else if (!strcmp(key, "slice_spec"))
            json_object_set_new(kwargs, name, slices(v));
        else if (!json_is_null(v))
            json_object_set_new(kwargs, name, quern__legacy_operand(layers, v));
    }
    json_object_del(kwargs, "");
    return json_pack("{s:[], s:o}", "args", "kwargs", kwargs);
}

void quern__legacy_become(json_t *spec, const char *kind, const char *module, json_t *config,
                          json_t *args, json_t *kwargs)
{
    char path[64];
    snprintf(path, sizeof path, "keras.src.ops.%s", module);
    json_object_set_new(spec, "module", json_string(path));
    json_object_set_new(spec, "class_name", json_string(kind));
    json_object_set_new(spec, "registered_name", json_string(kind));
    json_object_set_new(spec, "config", config);
    json_object_set_new(spec, "inbound_nodes",
                        json_pack("[{s:o, s:o}]", "args", args, "kwargs", kwargs));
}

bool quern__legacy_operation(json_t *layers, json_t *spec)
{
    json_t *config = json_object_get(spec, "config"),
           *calls = json_object_get(spec, "inbound_nodes"), *call, *now;
    const char *kind = quern__config_text(spec, "class_name"),
               *function = quern__config_text(config, "function");
    char module[64];
    size_t k, row = 0, n = sizeof operations / sizeof *operations;
    if (!kind || (strcmp(kind, "TFOpLambda") && strcmp(kind, "SlicingOpLambda")) || !function)
        return false;
    if (quern__legacy_expand(layers, spec, function))
        return true;
    while (row < n && strcmp(operations[row].function, function))
        row++;
    if (row == n)
        return false;
    now = json_pack("{s:O}", "name", json_object_get(config, "name"));
    if (operations[row].defaults) {
        json_t *defaults = json_loads(operations[row].defaults, 0, NULL);
        json_object_update(now, defaults);
        json_decref(defaults);
    }
    json_array_foreach(calls, k, call) if (json_is_array(call)) json_array_set_new(
        calls, k, call_of(layers, call, operations[row].args, operations[row].config, now));
    snprintf(module, sizeof module, "keras.src.ops.%s", operations[row].module);
    json_object_set_new(spec, "module", json_string(module));
    json_object_set_new(spec, "class_name", json_string(operations[row].name));
    json_object_set_new(spec, "registered_name", json_string(operations[row].name));
    json_object_set_new(spec, "config", now);
    return true;
}
